"""Makes the README's picture from the real page: `make screenshot`."""

import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

sys.path.insert(0, str(Path(__file__).parents[1]))

from processes import Service, browser_options, running_service, start_script

ROOT = Path(__file__).parents[2]
TRAINING = ROOT / "backend" / "lossboard_server" / "demo" / "training.py"
TARGET = Path(__file__).with_name("screenshot.png")
BATCH_SIZES = (10, 20)
EPOCHS = 40
SETTLE_MS = 1_500


def main() -> None:
    """Train the demo's two models, open both in Raw sum and take the picture."""
    with tempfile.TemporaryDirectory() as folder, running_service(Path(folder) / "state") as service:
        train(service)
        take(service)


def train(service: Service) -> None:
    """Train both models at once, as the demo does."""
    trainings = [
        start_script(
            TRAINING,
            service.folder,
            *("--batch-size", str(size), "--epochs", str(EPOCHS)),
            environment={"LOSSBOARD_RUN_ID": f"digits-batch-{size}"},
        )
        for size in BATCH_SIZES
    ]
    for training in trainings:
        training.communicate()
        if training.returncode:
            raise SystemExit(f"the training ended with {training.returncode}")


def take(service: Service) -> None:
    """Open both runs and photograph the page."""
    runs = "&".join(f"run=digits-batch-{size}" for size in BATCH_SIZES)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(**browser_options())
        page = browser.new_page(viewport={"width": 1440, "height": 900}, color_scheme="light")
        page.goto(service.login_link(f"/?{runs}&view=raw_sum&x=items"))
        page.locator("#epochs-chart .scatterlayer path").first.wait_for(state="attached")
        page.wait_for_timeout(SETTLE_MS)
        page.screenshot(path=TARGET)
        browser.close()


if __name__ == "__main__":
    main()
