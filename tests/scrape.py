"""What Prometheus sees: a page is fetched over HTTP and read by Prometheus' own parser."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import aiohttp
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families


class Scrape:
    """One page's samples."""

    def __init__(self, text: str) -> None:
        self.families: dict[str, Metric] = {each.name: each for each in text_string_to_metric_families(text)}
        self.samples = [sample for family in self.families.values() for sample in family.samples]

    def value(self, name: str, **labels: str) -> float | None:
        """One sample; None where it is absent."""
        found = [each.value for each in self.samples if each.name == name and each.labels == labels]
        assert len(found) < 2, f"{name} {labels} stands there twice"
        return found[0] if found else None

    def all(self, name: str, label: str) -> dict[str, float]:
        """Values by one label."""
        return {each.labels[label]: each.value for each in self.samples if each.name == name}

    @property
    def labels(self) -> set[str]:
        """Every value of every label."""
        return {value for sample in self.samples for value in sample.labels.values()}


class Health(NamedTuple):
    """What `/healthz` says."""

    status: int
    checks: dict[str, str]


def read(registry: CollectorRegistry) -> Scrape:
    """A registry, without a server in between."""
    return Scrape(generate_latest(registry).decode())


async def scrape(port: int) -> Scrape:
    """`/metrics` as Prometheus gets it."""
    text, _ = await fetch(port, "/metrics")
    return Scrape(text)


async def health(port: int) -> Health:
    """`/healthz`; the flag must say what the status says."""
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/healthz") as answer:
        page: dict[str, Any] = await answer.json()
        assert page["healthy"] is (answer.status == 200)
        assert page["healthy"] is all(said == "ok" for said in page["checks"].values())
        return Health(answer.status, page["checks"])


async def fetch(port: int, path: str, headers: Iterable[tuple[str, str]] = ()) -> tuple[str, str]:
    """A page's text and content type."""
    async with (
        aiohttp.ClientSession(raise_for_status=True) as session,
        session.get(f"http://127.0.0.1:{port}{path}", headers=dict(headers)) as answer,
    ):
        return await answer.text(), answer.headers["Content-Type"]
