DROP TABLE event_reaction;
