"""The application with declared events that unit and integration tests share."""

AUTH = '''
from dataclasses import dataclass
from typing import NamedTuple

class Point(NamedTuple):
    x: int

@dataclass
class Place:
    at: Point

async def user_created(hub, username: str, age: int = 0):
    """A user has signed up."""

def moved(hub, to: Place): ...

def _helper(hub): ...
'''
SHOP = """
SERVICE = "web shop"
PROFILE = "shop"

def sold(hub, order: int): ...
"""
APP = {"event/auth.py": AUTH, "event/shop.py": SHOP, "event/init.py": "def setup(hub): ..."}
