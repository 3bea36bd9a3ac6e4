# A package for the benchmark: a service that gives back what it gets.
DYNE = {"service": ["service"]}
