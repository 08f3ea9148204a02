"""Pictures: every point is drawn where it belongs, and names cannot break the drawing."""

import unittest
import xml.etree.ElementTree as xml

from lib.picture import Line, chart

SVG = "{http://www.w3.org/2000/svg}"


class Chart(unittest.TestCase):
    def test_points_are_in_proportion_and_in_order(self):
        drawn = xml.fromstring(chart("Earns", "callers", "a second", [Line("one", [(1, 0.0), (16, 500.0), (64, 1000.0)])]))
        points = [tuple(map(float, point.split(","))) for point in drawn.find(f"{SVG}polyline").get("points").split()]
        self.assertEqual([x for x, _ in points], sorted(x for x, _ in points))
        (_, bottom), (_, middle), (_, top) = points
        self.assertAlmostEqual(middle, (bottom + top) / 2)
        labels = [text.text for text in drawn.findall(f"{SVG}text")]
        self.assertTrue({"0", "1,000", "1", "16", "64", "one", "callers"} <= set(labels), labels)

    def test_names_are_escaped(self):
        drawn = xml.fromstring(chart("a < b", "x & y", "", [Line("<script>", [(1, 1.0)])]))
        self.assertEqual(drawn.find(f"{SVG}title").text, "a < b")
        self.assertIsNone(drawn.find(f"{SVG}script"))


if __name__ == "__main__":
    unittest.main()
