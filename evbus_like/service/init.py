"""hub.service: an application's services. A plugin is a service, its public functions are the methods."""
