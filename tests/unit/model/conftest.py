"""What the tests of models share: how much of their work needs graphs."""

import pytest

from tests.helpers import eager


@pytest.fixture(autouse=True)
def as_it_stands(request):
    """
    Run functions as they stand in modules that name, in `GRAPHS`, the tests which need
    graphs: to trace one takes longer than the few updates of all others.
    """
    graphs = getattr(request.module, "GRAPHS", None)
    with eager(graphs is not None and request.node.originalname not in graphs):
        yield
