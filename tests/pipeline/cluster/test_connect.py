"""How many workers a cluster is asked for, and what no cluster of one machine can have."""

import pytest

from pipeline.cluster.connect import Cluster, ClusterError
from pipeline.cluster.crew_size import CrewSize


def test_this_machine_refuses_at_once_what_it_can_never_have():
    here = Cluster(cpus=8, gpus=0, is_this_machine=True)
    with pytest.raises(ClusterError, match="this machine has 8 CPU, expected no more; take --cpus-per-worker 8"):
        here.crew_size("cpu", None, 64)
    with pytest.raises(ClusterError, match="Ray finds no GPU on this machine, expected one; take --device cpu"):
        here.crew_size("cuda", None, None)
    assert here.crew_size("cpu", 3, 8) == CrewSize(workers=3, cpus_per_worker=8)


def test_a_cluster_elsewhere_may_grow():
    assert Cluster(cpus=8, gpus=0).crew_size("cuda", None, 64).cpus_per_worker == 64
