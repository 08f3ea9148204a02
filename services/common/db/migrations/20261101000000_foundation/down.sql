DROP TABLE event_discarded, event_parked, event_ack, event_head, event_log, event_pending, idempotency;
