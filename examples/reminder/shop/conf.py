DYNE = {"handler": ["handler"]}
