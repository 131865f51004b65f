"""Do several files go together: names, clusters, and who signs in?

Each rule compares files of one folder; what no file describes may still be there in the workspace.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from batchscore.azureml.check.document import Document, Finding
from batchscore.azureml.check.kinds import scorings
from batchscore.azureml.check.variables import signs_in_by_entra

#: A document and its kind.
Described = tuple[Document, str]


def between(documents: Sequence[Described]) -> Iterator[Finding]:
    """Give what is wrong between files."""
    yield from _names(documents)
    yield from _twice(documents)
    clusters = {document.get("name"): document for document, kind in documents if kind == "compute"}
    for document, kind in documents:
        yield from _on_clusters(document, kind, clusters)


def _names(documents: Sequence[Described]) -> Iterator[Finding]:
    """Give names that no file describes, where some file describes things of that kind."""
    names: Mapping[str, set[object]] = {
        kind: {document.get("name") for document, its in documents if its == kind}
        for kind in ("endpoint", "compute")
    }
    for document, kind in documents:
        endpoint = document.get("endpoint_name")
        if kind == "deployment" and names["endpoint"] and endpoint not in {None, *names["endpoint"]}:
            yield document.finding(f"no file describes an endpoint named {endpoint}.", "endpoint_name")
        for steps, value in document.leaves():
            if steps[-1:] == ("compute",) and isinstance(value, str) and names["compute"]:
                name = value.removeprefix("azureml:")
                if name not in names["compute"] and "/" not in name:
                    yield document.finding(f"no file describes a cluster named {name}.", *steps)


def _twice(documents: Sequence[Described]) -> Iterator[Finding]:
    """Give files that describe one thing: the second to be created takes the first one's place."""
    first: dict[tuple[str, object, object], Document] = {}
    for document, kind in documents:
        name = document.get("name")
        if kind not in {"deployment", "endpoint", "compute", "schedule"} or not isinstance(name, str):
            continue
        before = first.setdefault((kind, document.get("endpoint_name"), name), document)
        if before is not document:
            message = f"{before.path.name} describes a {kind} named {name}, too: one takes the other's place."
            yield document.finding(message, "name")


def _on_clusters(document: Document, kind: str, clusters: Mapping[object, Document]) -> Iterator[Finding]:
    """Give nodes that a cluster has not, and identities that it lacks."""
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
