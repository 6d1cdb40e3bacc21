#!/bin/bash
# Create the topics with the settings they need; topics that exist are left as they are.
# For a cluster of your own: BOOTSTRAP=broker:9092 REPLICAS=3 KAFKA_TOPICS=.../bin/kafka-topics.sh deploy/topics.sh
set -euo pipefail

create() {
  local topic=$1 partitions=$2
  shift 2
  "${KAFKA_TOPICS:-/opt/kafka/bin/kafka-topics.sh}" --bootstrap-server "${BOOTSTRAP:-kafka:19092}" \
    --create --if-not-exists --replication-factor "${REPLICAS:-1}" \
    --topic "$topic" --partitions "$partitions" "${@/#/--config=}"
}

# Simulated time runs ahead of the clock, which brokers allow by an hour only.
create ticks 4 retention.ms=691200000 message.timestamp.after.max.ms=9223372036854775807
# Whoever takes over reads these from their start or from some seconds back: segments are closed, and compacted, after minutes.
short=(cleanup.policy=compact segment.ms=300000 min.cleanable.dirty.ratio=0.1 delete.retention.ms=600000)
create partials 1 "${short[@]}"
# As many as ticks: a book's checkpoints stand beside its log. A record may hold a whole universe.
create checkpoints 4 "${short[@]}" max.message.bytes=16777216
create compositions 1 cleanup.policy=compact max.message.bytes=16777216
# Numbers of control records are offsets: the list is kept whole.
create control 1 retention.ms=-1
create levels 1 retention.ms=691200000
# Official prices are kept: the newest of each day and name.
create closes 1 cleanup.policy=compact
create index-closes 1 cleanup.policy=compact
create dead-letters 1 retention.ms=2592000000
