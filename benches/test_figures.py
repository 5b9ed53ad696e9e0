"""Medians, spreads and ratios of rounds: `python3 -m unittest discover benches`."""

import unittest

from figures import alternating, quartiles, ratio, spread


class Spread(unittest.TestCase):
    def test_it_is_the_median_with_the_least_and_the_greatest(self):
        self.assertEqual(spread([3.0, 1.0, 8.0]), (3.0, 1.0, 8.0))

    def test_a_round_without_a_figure_is_left_out(self):
        self.assertEqual(spread([None, 2.0, 4.0]), (3.0, 2.0, 4.0))

    def test_of_nothing_there_is_none(self):
        self.assertIsNone(spread([None, None]))


class Ratio(unittest.TestCase):
    def test_rounds_are_compared_each_by_itself(self):
        # The machine was slower in the second round; 2 ÷ 1, 20 ÷ 10, 3 ÷ 1, and not the ratio of the medians, 3 ÷ 1.
        rounds = [{"a": 2, "b": 1}, {"a": 20, "b": 10}, {"a": 3, "b": 1}]
        self.assertEqual(ratio(rounds, "a", "b"), 2)

    def test_a_round_that_lacks_one_of_them_is_left_out(self):
        self.assertEqual(ratio([{"a": 2, "b": 1}, {"a": None, "b": 1}, {"a": 9}], "a", "b"), 2)

    def test_of_no_common_round_there_is_none(self):
        self.assertIsNone(ratio([{"a": 1, "b": None}], "a", "b"))


class Order(unittest.TestCase):
    def test_who_was_first_is_last_in_the_next_round(self):
        self.assertEqual([alternating("abc", number) for number in range(2)], [["a", "b", "c"], ["c", "b", "a"]])


class Quartiles(unittest.TestCase):
    def test_of_one_round_they_are_its_figure(self):
        self.assertEqual(quartiles([1.5]), [1.5, 1.5, 1.5])
