"""An event bus for pop applications: an event put on the hub reaches every destination whose profile matches."""
