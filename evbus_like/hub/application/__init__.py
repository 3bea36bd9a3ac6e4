"""What the application brings: handlers, services, declared events, middleware."""
