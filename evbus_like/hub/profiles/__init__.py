"""What the operator wrote: settings, credentials and profiles."""
