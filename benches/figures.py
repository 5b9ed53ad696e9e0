"""What is computed from measurements. A round is a dict of each server's figure; a figure that is missing is None."""

import statistics


class Failed(Exception):
    """What was measured is no figure, and why: the load met errors, or was not as heavy as it should be."""


def median(rows, key):
    return statistics.median(row[key] for row in rows)


def quartiles(values):
    return statistics.quantiles(values, n=4) if len(values) > 1 else [values[0]] * 3


def spread(values):
    """Median, least and greatest of those that were measured; None where none was."""
    found = [value for value in values if value is not None]
    return (statistics.median(found), min(found), max(found)) if found else None


def ratio(rounds, of, to):
    """Median of the ratios of the same round: what changes between rounds changes both."""
    ratios = [each[of] / each[to] for each in rounds if each.get(of) is not None and each.get(to)]
    return statistics.median(ratios) if ratios else None


def alternating(names, number):
    """Whoever was first in one round is last in the next."""
    return list(names) if number % 2 == 0 else list(names)[::-1]
