"""Print the oldest versions that pyproject.toml allows, as constraints for pip: `python .github/oldest.py test > oldest.txt`.

Arguments are names of extras, whose packages are added to the dependencies. Only the standard library is needed.
"""

import re
import sys
import tomllib
from pathlib import Path


def oldest(extras: list[str]) -> list[str]:
    """Return a line `name==version` for each dependency that has a lower bound."""
    text = (Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8")
    project = tomllib.loads(text)["project"]
    requirements = list(project["dependencies"])
    for extra in extras:
        requirements += project["optional-dependencies"][extra]
    found = [re.match(r"([A-Za-z0-9._-]+)>=([0-9.]+)", requirement) for requirement in requirements]
    return sorted({f"{match[1]}=={match[2]}" for match in found if match})


if __name__ == "__main__":
    print("\n".join(oldest(sys.argv[1:])))
