"""Packages are floors: each imports only itself and floors below it."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

FLOORS = [{"errors", "waiting"}, {"config"}, {"text"}, {"data"}, {"nn"}, {"model"}, {"schedule"}, {"optim"}, {"averaging"},
          {"objective"}, {"batches"}, {"train"}, {"generate"}, {"evaluate"}, {"compress"}, {"report"}, {"compare"}, {"cli"},
          {"__main__"}]
LEVEL = {name: level for level, names in enumerate(FLOORS) for name in names}
SOURCE = Path(__file__).parent.parent / "src" / "stlm"
FILES = sorted(path for path in SOURCE.rglob("*.py") if path != SOURCE / "__init__.py")


def imports(path: Path) -> set[str]:
    """Floors that a file names in an import, wherever it stands."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = ([alias.name for alias in node.names] if isinstance(node, ast.Import)
                 else [node.module or ""] if isinstance(node, ast.ImportFrom) else [])
        found |= {name.split(".")[1] for name in names if name.startswith("stlm.")}
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_point_downward(path):
    own = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    assert own in LEVEL, f"{own} has no floor: give it one in FLOORS"
    for other in imports(path):
        below = LEVEL[other] < LEVEL[own]
        assert own == other or below, f"{path.name} on floor {own} imports {other}, which isn't below it"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_files_stay_readable(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


def test_every_config_field_is_documented():
    """Each field of a config has a docstring, because that is its --help."""
    bare = []
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and node.name.endswith("Config"):
                for field, after in zip(node.body, [*node.body[1:], None], strict=True):
                    documented = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
                    if isinstance(field, ast.AnnAssign) and "ClassVar" not in ast.dump(field) and not documented:
                        bare.append(f"{path.name}: {node.name}.{ast.unparse(field.target)}")
    assert not bare


@pytest.mark.slow
def test_the_core_imports_little():
    """Training, scoring and writing need torch, numpy, safetensors and jaxtyping only, as on a bare GPU machine."""
    spared = ("rich", "zstandard", "tokenizers", "pyarrow", "datasets", "matplotlib", "jinja2", "scipy",
              "transformers")
    code = (f"import sys; sys.modules.update(dict.fromkeys({spared!r})); "
            "import stlm.train.presets, stlm.train.build, stlm.evaluate.bits, stlm.generate.writer, stlm.data.sources; "
            "[make() for make in stlm.train.presets.PRESETS.values()]")
    subprocess.run([sys.executable, "-c", code], check=True)
