"""The Faust application: ticks in from Kafka, partials through a channel or topic, snapshots out."""
