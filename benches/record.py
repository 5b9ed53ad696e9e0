"""The record of instructions per request, and how a measurement is judged by it."""

TOLERANCE = 0.03
# Runs of one program differ by less.
NOISE = 0.01


def unlike(record, environment):
    """Why the two can't be compared: another compiler, C library or CPU makes other figures of the same source."""
    return [f"{what} is {here}, the record's {record['environment'].get(what)}" for what, here in environment.items() if record["environment"].get(what) != here]


def judge(record, measured):
    """What is wrong with the figures, in lines."""
    wrong = []
    for name in record["rows"].keys() | measured.keys():
        recorded = record["rows"].get(name, {}).get("instructions")
        if recorded is None:
            wrong.append(f"{name}: there is no record of it; --record makes one")
        elif name not in measured:
            wrong.append(f"{name}: it was not measured")
        elif measured[name] > recorded * (1 + TOLERANCE):
            wrong.append(f"{name}: {measured[name] / recorded - 1:+.1%} against the record, and {TOLERANCE:.0%} is allowed")
    return sorted(wrong)


def renew(record, environment, measured):
    """A new record, the rows that it raises, and those that it may not: a figure rises to its bar at most, and never beyond."""
    rows, raised, refused = {}, [], []
    for name, figure in measured.items():
        old = record["rows"].get(name, {})
        recorded, bar = old.get("instructions"), old.get("bar")
        if recorded is not None and figure > recorded:
            if figure <= recorded * (1 + NOISE):
                figure = recorded
            elif bar is not None and figure > bar:
                refused.append(f"{name}: {figure} is above the recorded {recorded} and above the bar of {bar}")
            else:
                raised.append(f"{name}: {recorded} → {figure}")
        rows[name] = {"instructions": figure} | ({} if bar is None else {"bar": bar})
    return {"environment": environment, "rows": rows}, raised, refused


def table(record, measured):
    lines = [f"{'user instructions per request':40} {'recorded':>9} {'measured':>9} {'change':>8} {'bar':>8}"]
    for name, figure in measured.items():
        row = record["rows"].get(name, {})
        recorded, bar = row.get("instructions"), row.get("bar")
        change = f"{figure / recorded - 1:+.1%}" if recorded else "–"
        over = " over" if bar and figure > bar else ""
        lines.append(f"{name:40} {recorded or '–':>9} {figure:>9} {change:>8} {bar or '–':>8}{over}")
    return "\n".join(lines)
