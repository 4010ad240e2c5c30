"""The two HTTP interfaces: health and figures (8081), and the management API with the same figures (8080)."""

from __future__ import annotations

from . import health, metrics, queue
from .answers import application
from .figures import Figures
from .forgery import Guard
from .serve import App


def health_interface(figures: Figures) -> App:
    return application({**health.routes(figures), **metrics.routes(figures)})


def api_interface(figures: Figures) -> App:
    shared = {**health.routes(figures), **metrics.routes(figures)}
    mirrored = {path: shared[path] for path in ("/health", "/stats", "/metrics")}
    guard = Guard(figures.store, figures.clock)
    return application({**mirrored, **queue.routes(figures), **guard.routes()}, queue.actions(figures, guard))
