"""hub.handler: an application's handlers. Its plugins mark functions with `evbus_like.handlers.handler`."""
