"""Gives `pip install .` the version that package.xml states; all else is in pyproject.toml."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path

from setuptools import setup

package = ElementTree.parse(Path(__file__).with_name("package.xml")).getroot()

setup(version=package.findtext("version"))
