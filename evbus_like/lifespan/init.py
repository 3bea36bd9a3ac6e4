"""hub.lifespan: plugins have start(hub), ready(hub), stop(hub), or some; docs/handlers.md says when they run."""
