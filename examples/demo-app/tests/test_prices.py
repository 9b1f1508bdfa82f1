import unittest

from bakery.prices import total_cents


class TotalTest(unittest.TestCase):
    def test_an_empty_order_costs_nothing(self):
        self.assertEqual(total_cents({}), 0)

    def test_pieces_add_up(self):
        self.assertEqual(total_cents({"rye": 2, "pretzel": 1}), 950)

    def test_the_thirteenth_piece_is_free(self):
        self.assertEqual(total_cents({"croissant": 13}), total_cents({"croissant": 12}))

    def test_what_is_not_baked_cannot_be_ordered(self):
        with self.assertRaisesRegex(ValueError, "we do not bake glass"):
            total_cents({"glass": 1})

    def test_a_negative_order_is_refused(self):
        with self.assertRaisesRegex(ValueError, "-1"):
            total_cents({"rye": -1})
