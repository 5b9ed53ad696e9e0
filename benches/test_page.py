"""What the page on performance says of a record: `python3 -m unittest discover benches`."""

import copy, json, re, unittest
from xml.etree import ElementTree

import page
from chart import number, svg
from programs import ROOT
from rounds import ROWS

PUBLISHED = json.loads((ROOT / "benches/published.json").read_text())


def record(rounds=2, **figures):
    """Each server takes 10, 20, … of everything in the first round, and twice as much in the next; `figures` of a row stand in place."""
    servers = list(page.NAMES)
    found = {
        "date": "2026-01-02", "command": "benches/run --publish", "seconds": 3, "connections": 2000, "took_s": 900,
        "machine": {"cpu": "A CPU", "cores": 2, "virtual": True, "memory_gib": 8.0, "kernel": "6.1", "system": "Debian", "load": 0.1, "stolen": 0.0},
        "versions": {"vestibule": "0.1.0", "nginx": "1.22.1"},
        "rounds": [],
    }
    for number in range(rounds):
        row = {name: {"figure": 10.0 * (at + 1) * (number + 1), "busy": 0.9, "per_second": 1000.0} for at, name in enumerate(servers)}
        found["rounds"].append({"foreign": [0.01, 0.02], "direct_per_second": 2000.0, "figures": {key: copy.deepcopy(figures.get(key, row)) for key in ROWS}})
    return found


def line(text, begins):
    return next(each for each in text.split("\n") if each.startswith(begins))


class Table(unittest.TestCase):
    def test_a_row_has_medians_spreads_and_the_ratio(self):
        self.assertEqual(
            line(page.table(record()), "| Start"),
            "| Start, ms | **15.0** (10.0–20.0) | **30.0** (20.0–40.0) | **45.0** (30.0–60.0) | **60.0** (40.0–80.0) | **75.0** (50.0–100) | 0.50 |",
        )

    def test_what_does_not_apply_is_no_gap(self):
        found = record(question={"vestibule": {"figure": 3.0}, "nginx": {"figure": 2.0}})
        self.assertEqual(line(page.table(found), "| Yes"), "| Yes to a gateway that asks, µs | **3.00** (3.00–3.00) | **2.00** (2.00–2.00) | – | – | – | 1.50 |")
        self.assertEqual(page.missing(found), "")

    def test_what_was_not_measured_is_said_with_its_reason(self):
        found = record(start={"vestibule": {"figure": 3.0}, "nginx": {"figure": 2.0}, "haproxy": {"why": "HAProxy is not installed"}})
        self.assertIn("| not measured |", line(page.table(found), "| Start"))
        self.assertEqual(page.missing(found), "- Start, HAProxy: not measured: HAProxy is not installed")
        self.assertIn("not measured: HAProxy is not installed", page.page(found))

    def test_a_round_that_failed_is_said(self):
        found = record()
        found["rounds"][1]["figures"]["start"]["nginx"] = {"why": "the load met errors"}
        self.assertIn("**20.0** (20.0–20.0)", page.table(found))
        self.assertEqual(page.missing(found), "- Start, nginx: measured in 1 of 2 rounds: the load met errors")


class Verdict(unittest.TestCase):
    def verdict(self, vestibule, nginx=20.0, asks=40.0):
        row = {"vestibule": {"figure": vestibule}, "nginx": {"figure": nginx}, "nginx-asks-nginx": {"figure": asks}}
        return "\n".join(page.verdict(record(**{"get-log": row})))

    def test_reasons_for_more_are_given_where_it_is_more(self):
        self.assertIn("It reads every head twice", self.verdict(30.0))
        self.assertNotIn("It reads every head twice", self.verdict(20.0))

    def test_reasons_for_less_are_given_where_it_is_less(self):
        self.assertIn("because it decides in its own process", self.verdict(30.0))
        self.assertNotIn("because it decides in its own process", self.verdict(41.0))

    def test_a_hundred_requests_a_second_are_a_share_of_a_cpu(self):
        self.assertIn("take 0.30 % of one CPU", self.verdict(30.0))


class Chart(unittest.TestCase):
    def bars(self, chart):
        return ElementTree.fromstring(chart).findall("{http://www.w3.org/2000/svg}rect[@rx]")

    def test_it_is_well_formed_whatever_a_name_holds(self):
        chart = svg([('<&">', "µs", [('<&">', (1.0, 0.5, 2.0))])], "light", '<&">')
        self.assertEqual(ElementTree.fromstring(chart).get("aria-label"), '<&">')

    def test_bars_are_as_long_as_their_figures(self):
        chart = svg([("a", "µs", [("x", (10.0, 10.0, 10.0)), ("y", (5.0, 5.0, 5.0))])], "dark", "a")
        long, short = (float(bar.get("width")) for bar in self.bars(chart))
        self.assertAlmostEqual(long, 2 * short, delta=0.2)

    def test_what_was_not_measured_has_a_word_in_place_of_a_bar(self):
        chart = svg([("a", "µs", [("x", "not measured"), ("y", (1.0, 1.0, 1.0))])], "light", "a")
        self.assertEqual(len(self.bars(chart)), 1)
        self.assertIn(">not measured<", chart)

    def test_nothing_measured_is_a_chart_too(self):
        self.assertEqual(self.bars(svg([("a", "µs", [("x", "not measured")])], "light", "a")), [])

    def test_figures_have_three_digits(self):
        self.assertEqual([number(each) for each in (0.123, 1.234, 9.96, 12.34, 99.6, 1234.5)], ["0.12", "1.23", "10.0", "12.3", "100", "1,234"])


class Published(unittest.TestCase):
    def test_the_page_and_its_charts_are_as_their_figures_make_them(self):
        self.assertEqual((ROOT / "docs/performance.md").read_text(), page.page(PUBLISHED))
        for theme in ("light", "dark"):
            self.assertEqual((ROOT / f"docs/performance-{theme}.svg").read_text(), page.chart(PUBLISHED, theme))

    def test_lines_of_prose_are_not_longer_than_elsewhere(self):
        long = [each for each in page.page(PUBLISHED).split("\n") if len(each) > page.COLUMNS and not re.match(r"[|<]", each)]
        self.assertEqual(long, [])
