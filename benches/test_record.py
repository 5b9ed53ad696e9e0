"""What fails and what does not: `python3 -m unittest discover benches`."""

import unittest

from record import judge, renew, unlike

HERE = {"compiler": "rustc 1.95.0", "libc": "glibc 2.36", "cpu": "x86_64 with AVX2"}


def record(bar=None, instructions=100_000):
    return {"environment": HERE, "rows": {"GET": {"instructions": instructions} | ({"bar": bar} if bar else {})}}


class Judge(unittest.TestCase):
    def test_what_is_2_9_percent_over_the_record_passes(self):
        self.assertEqual(judge(record(), {"GET": 102_900}), [])

    def test_what_is_3_1_percent_over_the_record_fails(self):
        self.assertEqual(judge(record(), {"GET": 103_100}), ["GET: +3.1% against the record, and 3% is allowed"])

    def test_what_is_below_the_record_passes(self):
        self.assertEqual(judge(record(), {"GET": 50_000}), [])

    def test_a_row_that_was_not_measured_fails(self):
        self.assertEqual(judge(record(), {}), ["GET: it was not measured"])

    def test_a_row_without_a_record_fails(self):
        self.assertEqual(judge(record(), {"GET": 100_000, "POST": 1}), ["POST: there is no record of it; --record makes one"])

    def test_a_bar_is_no_record(self):
        self.assertEqual(len(judge(record(bar=70_000, instructions=None), {"GET": 1})), 1)


class Unlike(unittest.TestCase):
    def test_the_same_environment_is_compared(self):
        self.assertEqual(unlike(record(), HERE), [])

    def test_another_compiler_is_not_compared(self):
        self.assertEqual(unlike(record(), HERE | {"compiler": "rustc 1.96.0"}), ["compiler is rustc 1.96.0, the record's rustc 1.95.0"])

    def test_another_c_library_is_not_compared(self):
        self.assertEqual(unlike(record(), HERE | {"libc": "glibc 2.41"}), ["libc is glibc 2.41, the record's glibc 2.36"])

    def test_what_only_one_of_them_has_is_not_compared(self):
        self.assertEqual(len(unlike(record(), HERE | {"valgrind": "3.19.0"})), 1)


class Renew(unittest.TestCase):
    def renewed(self, old, figure):
        new, raised, refused = renew(old, HERE, {"GET": figure})
        return new["rows"]["GET"]["instructions"], len(raised), len(refused)

    def test_a_lower_figure_is_taken_also_above_the_bar(self):
        self.assertEqual(self.renewed(record(bar=70_000), 90_000), (90_000, 0, 0))

    def test_a_figure_above_its_bar_may_not_rise(self):
        self.assertEqual(self.renewed(record(bar=70_000), 102_000)[1:], (0, 1))

    def test_a_figure_may_not_rise_beyond_its_bar(self):
        self.assertEqual(self.renewed(record(bar=101_500), 102_000)[1:], (0, 1))

    def test_below_its_bar_a_figure_may_rise(self):
        self.assertEqual(self.renewed(record(bar=120_000), 110_000), (110_000, 1, 0))

    def test_without_a_bar_a_figure_may_rise(self):
        self.assertEqual(self.renewed(record(), 110_000), (110_000, 1, 0))

    def test_noise_raises_nothing(self):
        self.assertEqual(self.renewed(record(bar=70_000), 100_900), (100_000, 0, 0))

    def test_a_bar_stays(self):
        self.assertEqual(renew(record(bar=70_000), HERE, {"GET": 60_000})[0]["rows"]["GET"]["bar"], 70_000)

    def test_a_first_figure_is_taken_whatever_the_bar(self):
        self.assertEqual(self.renewed(record(bar=70_000, instructions=None), 120_000), (120_000, 0, 0))
