"""The cluster that all these tests share."""

from collections.abc import Iterator

import pytest
from helpers import slurm_cluster as slurm


@pytest.fixture(scope="session")
def running_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[slurm.Cluster]:
    """A cluster, started once."""
    if reason := slurm.why_not():
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("cluster")
    cluster = slurm.start_cluster(folder)
    yield cluster
    cluster.stop()


@pytest.fixture
def cluster(running_cluster: slurm.Cluster) -> slurm.Cluster:
    """The cluster, whole and idle, whatever a test before did to it."""
    running_cluster.heal()
    return running_cluster
