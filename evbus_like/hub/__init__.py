"""The hub layer connects plugins, settings and applications on a pop hub to the engine."""
