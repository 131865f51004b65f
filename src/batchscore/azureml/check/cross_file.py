"""Do several files fit together: names, clusters, identities?

Each rule compares files of one folder. A thing that no file describes may still exist in the workspace.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

from batchscore.azureml.check.document import Document, Finding
from batchscore.azureml.check.kinds import scorings
from batchscore.azureml.check.variables import signs_in_by_entra

#: A document and its kind.
Described: TypeAlias = "tuple[Document, str]"


def cross_file_findings(documents: Sequence[Described]) -> Iterator[Finding]:
    """Give the mistakes between files."""
    clusters = {document.get("name"): document for document, kind in documents if kind == "compute"}
    endpoints = {document.get("name") for document, kind in documents if kind == "endpoint"}
    first: dict[tuple[str, object, object], Document] = {}
    for document, kind in documents:
        endpoint, name = document.get("endpoint_name"), document.get("name")
        if kind == "deployment" and endpoints and endpoint not in {None, *endpoints}:
            yield document.finding(f"no file describes an endpoint named {endpoint}.", "endpoint_name")
        for keys, value in document.leaves() if clusters else ():
            cluster = value.removeprefix("azureml:") if isinstance(value, str) else None
            if keys[-1:] == ("compute",) and cluster and cluster not in clusters and "/" not in cluster:
                yield document.finding(f"no file describes a cluster named {cluster}.", *keys)
        if kind in {"deployment", "endpoint", "compute", "schedule"} and isinstance(name, str):
            before = first.setdefault((kind, endpoint, name), document)
            if before is not document:
                message = (
                    f"{before.path.name} describes a {kind} named {name}, too: one would replace the other."
                )
                yield document.finding(message, "name")
        yield from _cluster_findings(document, kind, clusters)


def _cluster_findings(
    document: Document, kind: str, clusters: Mapping[object, Document]
) -> Iterator[Finding]:
    """Give more nodes than a cluster has, and identities that it lacks."""
    for scoring in scorings(document, kind):
        name = str(document.get(*scoring.compute)).removeprefix("azureml:")
        cluster = clusters.get(name)
        if cluster is None:
            continue
        nodes, most = document.get(*scoring.instances), cluster.get("max_instances")
        if isinstance(nodes, int) and isinstance(most, int) and nodes > most > 0:
            message = f"{scoring.what} wants {nodes} nodes, but the cluster {name} has at most {most}."
            yield document.finding(message, *scoring.instances)
        if signs_in_by_entra(document.table(*scoring.variables)) and not cluster.get("identity", "type"):
            message = "identity is not set: nodes without one cannot sign in by Entra ID. Add"
            yield cluster.finding(f"{message} type: system_assigned below identity.", "identity")
