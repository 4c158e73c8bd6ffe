import unittest

from hello import greeting


class Greeting(unittest.TestCase):
    def test_names_the_version(self):
        self.assertEqual(greeting.greeting(), "hello from " + greeting.VERSION)
