# A package for the tests of the command: an application with a service.
DYNE = {"service": ["service"]}
