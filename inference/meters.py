"""What a worker counts for its owner. Labels are few and known beforehand: never a person, a server or a job."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from inference.renderer import Renderer
from jobs.record import Job, Outcome, Rendered
from jobs.requests import BY_SYSTEM

ENDINGS = ("rendered", "failed", "cancelled", "lease_lost", "renderer_died", "renderer_did_not_start", "given_back")
WAITS = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400)
RENDERS = (0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600)
LOADS = (0.1, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300)


class Meters:
    """Counters, each raised where the thing happens, and how the device is."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.waits = Histogram(
            "zoetrope_wait_seconds",
            "From a job's acceptance to its first start, by `system`.",
            ["system"],
            buckets=WAITS,
            registry=registry,
        )
        self.renders = Histogram(
            "zoetrope_render_seconds",
            "What the device worked on a finished clip, without loading, by `system`.",
            ["system"],
            buckets=RENDERS,
            registry=registry,
        )
        self.loads = Histogram(
            "zoetrope_loading_seconds",
            "What a finished clip waited for networks to be loaded, by `system`.",
            ["system"],
            buckets=LOADS,
            registry=registry,
        )
        self.attempts = Counter(
            "zoetrope_attempts",
            f"Attempts at jobs by `system` and `ending`: {', '.join(ENDINGS)}.",
            ["system", "ending"],
            registry=registry,
        )
        self.busy = Gauge("zoetrope_device_busy", "1 while a job has the device, else 0.", registry=registry)
        self.memory = Gauge(
            "zoetrope_device_memory_bytes",
            "Memory of the GPU named `device`; absent on a CPU.",
            ["device"],
            registry=registry,
        )
        self.free = Gauge(
            "zoetrope_device_memory_free_bytes",
            "Of it, what the driver had free at the last step of a render.",
            ["device"],
            registry=registry,
        )
        for system in BY_SYSTEM:  # shown before they first happen: a rate needs a zero to begin with
            for ending in ENDINGS:
                self.attempts.labels(system, ending)
            for histogram in (self.waits, self.renders, self.loads):
                histogram.labels(system)

    def begins(self, job: Job, fence: int) -> None:
        """An attempt begins; the first one ends the wait."""
        if fence == 1 and job.started_ms is not None:
            waited_ms = job.started_ms - job.submission.accepted_ms
            self.waits.labels(_system(job)).observe(max(0, waited_ms) / 1000)

    def settled(self, job: Job, outcome: Outcome) -> None:
        """An attempt ended the job."""
        self.ends(job, outcome.kind)
        if isinstance(outcome, Rendered):
            self.renders.labels(_system(job)).observe(outcome.gpu_ms / 1000)
            self.loads.labels(_system(job)).observe(outcome.loading_ms / 1000)

    def ends(self, job: Job, ending: str) -> None:
        """An attempt ended, one of `ENDINGS`."""
        self.attempts.labels(_system(job), ending).inc()

    def device(self, renderer: Renderer, *, busy: bool) -> None:
        """How the device is now."""
        self.busy.set(busy)
        facts = renderer.facts
        if facts is None or not facts.vram_bytes:
            self.memory.clear()
            self.free.clear()
            return
        self.memory.labels(facts.device_name).set(facts.vram_bytes)
        self.free.labels(facts.device_name).set(renderer.vram_free_bytes)


def _system(job: Job) -> str:
    return job.submission.recipe.lead.name()
