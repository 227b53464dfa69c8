"""docs/monitoring.md against the code and docker-compose.yml: its table, its examples and its alerts."""

import re
from pathlib import Path
from typing import Any

import yaml

from console.metrics_table import PAGE, fresh, table
from inference.meters import ENDINGS
from jobs.watch import MetricsSettings
from tests.test_compose import COMPOSE, SERVICES, complaints

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / PAGE).read_text("utf-8")
EXAMPLES: list[dict[str, Any]] = [yaml.safe_load(block) for block in re.findall(r"(?s)```yaml\n(.+?)```", TEXT)]
SCRAPING, OVERRIDE, RULES = EXAMPLES
DECLARED = set(re.findall(r"`(zoetrope_\w+)` \|", table()))
SUFFIXES = r"_(bucket|sum|count)$"


def test_the_table_is_fresh() -> None:
    assert table() in TEXT, "run: python -m console docs"
    assert fresh(TEXT) == TEXT


def test_a_stale_table_is_made_anew_and_the_rest_is_left_alone() -> None:
    row = "| `zoetrope_device_busy` | worker | gauge | 1 while a job has the device, else 0. |\n"
    assert row in TEXT

    assert fresh(TEXT.replace(row, "| `zoetrope_old` | | | |\n")) == TEXT


def test_a_name_says_its_unit_and_no_two_are_alike() -> None:
    rows = re.findall(r"`(zoetrope_\w+)` \| \w+ \| (\w+) \|", table())

    assert len({name for name, _ in rows}) == len(rows)
    for name, kind in rows:
        assert name.endswith("_total") is (kind == "counter")
        assert name.endswith("_seconds") is (kind == "histogram")


def test_every_metric_that_the_page_speaks_of_exists() -> None:
    named = set(re.findall(r"zoetrope_[a-z_]+", re.sub(r"zoetrope\.rules", "", TEXT)))

    assert {re.sub(SUFFIXES, "", name) for name in named} <= DECLARED


def test_there_are_three_alerts_and_their_labels_exist() -> None:
    rules = [rule for group in RULES["groups"] for rule in group["rules"]]
    values = {"waiting", "failed", "cancelled", "401|403|429", *ENDINGS}

    assert len(rules) == 3
    for rule in rules:
        assert set(re.findall(r"zoetrope_[a-z_]+", rule["expr"])) <= DECLARED
        assert set(re.findall(r'=~?"([^"]+)"', rule["expr"])) <= values


def test_prometheus_is_told_the_ports_that_are_the_defaults() -> None:
    settings = MetricsSettings()
    ports = [settings.bot_port, settings.worker_port]

    assert SCRAPING["scrape_configs"][0]["static_configs"][0]["targets"] == [f"localhost:{port}" for port in ports]
    assert f"[bot:{ports[0]}, worker:{ports[1]}]" in TEXT
    assert re.findall(r"^\| (?:bot|worker) \| (\d+)", TEXT, re.MULTILINE) == [str(port) for port in ports]


def test_the_prometheus_for_compose_fits_and_reaches_bot_and_worker_but_not_redis() -> None:
    whole = {**COMPOSE, "services": {**SERVICES, **OVERRIDE["services"]}}
    reached = set(OVERRIDE["services"]["prometheus"]["networks"])

    assert complaints(whole) == []
    assert reached <= set(COMPOSE["networks"])
    for name in ("bot", "worker"):
        assert "watch" in reached & set(SERVICES[name]["networks"])
    assert not reached & set(SERVICES["redis"]["networks"])
    assert all(port.startswith("127.0.0.1:") for port in OVERRIDE["services"]["prometheus"]["ports"])
