"""Write ``kafka.lock`` anew: ``python -m stream.services.relock > /tmp/kafka.lock``, then move it.

For maintainers, after a change of `KAFKA_VERSION`: this is the one place that resolves Kafka's
dependencies and believes what the repository sends.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
from pathlib import Path

from jgo.maven import MavenContext

from stream.services.kafka import KAFKA_VERSION

_ROOTS = [
    f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}",
    # A binding for the slf4j-api of the same version, without which Kafka would log nothing.
    "org.slf4j:slf4j-simple:1.7.36",
]


def main() -> None:
    """Resolve Kafka and its dependencies, and write a line for each jar to standard output."""
    with tempfile.TemporaryDirectory() as folder:
        maven = MavenContext(repo_cache=Path(folder))
        roots = [maven.create_dependency(root) for root in _ROOTS]
        found, transitive = maven.resolver.resolve(roots)
        needed = found + [jar for jar in transitive if jar.scope in ("compile", "runtime")]
        artifacts = {dependency.artifact.key: dependency.artifact for dependency in needed}
        for _, artifact in sorted(artifacts.items()):
            content = artifact.resolve().read_bytes()
            name = f"{artifact.groupId}:{artifact.artifactId}:{artifact.version}"
            sys.stdout.write(f"{name} {len(content)} {hashlib.sha256(content).hexdigest()}\n")


if __name__ == "__main__":
    main()
