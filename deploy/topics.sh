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
create partials 1 cleanup.policy=compact
create dead-letters 1 retention.ms=2592000000
