"""In a real browser: the first curve after a cold start, and how long a logged record takes to the chart."""

import statistics
import tempfile
import time
from pathlib import Path

from figures import Figure, quantile, report, size
from filling import fill_run, make_bodies
from playwright.sync_api import Browser, sync_playwright

import lossboard
from processes import Service, browser_options, running_service

LARGE_RUN = 1_000_000
COLD_STARTS = 5
RECORDS = 30
INTERVAL_S = 0.5
TIMEOUT_MS = 60_000

DRAWN = """() => [...document.querySelectorAll(".js-plotly-plot")].some(
    (plot) => (plot.data ?? []).some((trace) => (trace.y ?? []).length > 0)) && performance.now()"""
HOLDS = """(loss) => [...document.querySelectorAll(".js-plotly-plot")].some(
    (plot) => (plot.data ?? []).some((trace) => Array.from(trace.y ?? []).includes(loss))) && Date.now()"""


def main() -> None:
    """Measure both with one service and one browser."""
    with (
        tempfile.TemporaryDirectory() as name,
        running_service(Path(name)) as service,
        sync_playwright() as playwright,
    ):
        fill_run(service, "large", make_bodies(size(LARGE_RUN), writer="large"))
        browser = playwright.chromium.launch(**browser_options())
        what = f"first curve after a cold navigation, 1 run × {size(LARGE_RUN):,}, median"
        seconds = [time_first_curve(browser, service) for _ in range(max(2, size(COLD_STARTS)))]
        report([Figure(what, statistics.median(seconds), "s")])
        report(measure_delay(browser, service))
        browser.close()


def time_first_curve(browser: Browser, service: Service) -> float:
    """Open the page in a browser that has cached nothing; returns seconds."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    link = service.login_link("/?run=large")
    begin = time.perf_counter()
    page.goto(link)
    page.wait_for_function(DRAWN, timeout=TIMEOUT_MS)
    seconds = time.perf_counter() - begin
    context.close()
    return seconds


def measure_delay(browser: Browser, service: Service) -> list[Figure]:
    """Log records one by one, each with a loss of its own, and wait until the chart holds it."""
    run = lossboard.init(project="bench", url=service.url, token=service.token, dir=str(service.folder))
    run.log(0, 0, 2.0, 32)
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    page.goto(service.login_link(f"/?run={run.id}&x=batch&mode=batch"))
    page.wait_for_function(HOLDS, arg=2.0, timeout=TIMEOUT_MS, polling="raf")
    delays = []
    for i in range(1, max(3, size(RECORDS)) + 1):
        time.sleep(INTERVAL_S)
        loss = 2.0 - i / 1024  # a fraction that JSON and the chart keep exactly
        begin_ms = time.time() * 1e3
        run.log(0, i, loss, 32)
        seen = page.wait_for_function(HOLDS, arg=loss, timeout=TIMEOUT_MS, polling="raf")
        delays.append(seen.json_value() - begin_ms)
    run.finish()
    context.close()
    return [
        Figure("log to page, median", statistics.median(delays), "ms"),
        Figure("log to page, p95", quantile(delays, 0.95), "ms"),
    ]


if __name__ == "__main__":
    main()
