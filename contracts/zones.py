"""The zones of the reference city, shared by its families so that they can be joined."""

CITY_ZONES = (
    "centre",
    "north",
    "east",
    "south",
    "west",
    "harbour",
    "airport",
    "campus",
    "industrial",
    "riverside",
)
