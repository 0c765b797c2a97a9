"""`lossboard demo`: the service, two small trainings side by side, and the page that compares them."""
