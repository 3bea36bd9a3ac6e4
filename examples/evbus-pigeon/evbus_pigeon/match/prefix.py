def find(hub, name: str, pattern: str) -> bool:
    return name.startswith(pattern)
