-- What each consumer does about events, and the part of the log in which it does it. A row never changes: what a reaction
-- did about an event stays its own, also when another one has taken its place since.
CREATE TABLE event_reaction (
    consumer       text   NOT NULL,
    reaction       text   NOT NULL,
    -- The reaction whose place it takes; empty = none.
    replaces       text   NOT NULL,
    -- It applies to events behind this position, the one that it replaces to those up to it.
    start_position bigint NOT NULL CHECK (start_position >= 0),
    PRIMARY KEY (consumer, reaction)
);
