"""How the tests of this folder write configuration files."""

import pytest
import yaml


@pytest.fixture
def write(tmp_path):
    """Write mappings (or text) as YAML files; return their paths."""

    def write_files(**contents):
        paths = []
        for name, content in contents.items():
            path = tmp_path / f"{name}.yaml"
            text = (
                content
                if isinstance(content, str)
                else yaml.safe_dump(content, sort_keys=False)
            )
            path.write_text(text)
            paths.append(path)
        return paths

    return write_files
