-- What is asked, who is asked it, and what they answered.

CREATE TABLE questionnaires (
    id             uuid        PRIMARY KEY,
    purpose        text        NOT NULL,
    state          text        NOT NULL CHECK (state IN ('DRAFT', 'PUBLISHED', 'RETIRED')),
    -- The draft: {title, questions, incentive}.
    content        jsonb       NOT NULL,
    latest_version integer     NOT NULL CHECK (latest_version >= 0),
    -- When the latest version was published.
    publish_time   timestamptz,
    version        bigint      NOT NULL CHECK (version > 0),
    create_time    timestamptz NOT NULL,
    update_time    timestamptz NOT NULL,
    CHECK ((latest_version = 0) = (publish_time IS NULL)),
    CHECK (state <> 'PUBLISHED' OR latest_version > 0)
);
-- For lists by purpose, by state and by both.
CREATE INDEX questionnaires_by_purpose ON questionnaires (purpose, state, id);
CREATE INDEX questionnaires_by_state ON questionnaires (state, id);
-- For invitations by purpose: the one that was published last.
CREATE INDEX questionnaires_published ON questionnaires (purpose, publish_time, id) WHERE state = 'PUBLISHED';

-- What was published stays what it was: answers are read by it for ever.
CREATE TABLE questionnaire_versions (
    questionnaire_id uuid        NOT NULL REFERENCES questionnaires,
    number           integer     NOT NULL CHECK (number > 0),
    purpose          text        NOT NULL,
    content          jsonb       NOT NULL,
    create_time      timestamptz NOT NULL,
    PRIMARY KEY (questionnaire_id, number)
);

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% on % is refused: its rows never change', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation';
END
$$;
CREATE TRIGGER questionnaire_versions_never_change BEFORE UPDATE OR DELETE ON questionnaire_versions
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER questionnaire_versions_never_emptied BEFORE TRUNCATE ON questionnaire_versions
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE TABLE invitations (
    id               uuid        PRIMARY KEY,
    customer_id      uuid        NOT NULL,
    questionnaire_id uuid        NOT NULL,
    number           integer     NOT NULL,
    -- Empty and 0 stand for none: NULLs would all differ from one another in the constraint below.
    subject          text        NOT NULL,
    subject_version  bigint      NOT NULL CHECK (subject_version >= 0),
    state            text        NOT NULL CHECK (state IN ('PENDING', 'ANSWERED', 'EXPIRED')),
    expire_time      timestamptz NOT NULL,
    response_id      uuid,
    answer_time      timestamptz,
    version          bigint      NOT NULL CHECK (version > 0),
    create_time      timestamptz NOT NULL,
    update_time      timestamptz NOT NULL,
    FOREIGN KEY (questionnaire_id, number) REFERENCES questionnaire_versions,
    -- Nobody is asked the same twice.
    CONSTRAINT invitations_once UNIQUE (customer_id, subject, subject_version, questionnaire_id),
    CHECK ((state = 'ANSWERED') = (response_id IS NOT NULL)),
    CHECK ((state = 'ANSWERED') = (answer_time IS NOT NULL))
);
-- For lists. A customer and a subject have few invitations, so the other filters need no index of their own there.
CREATE INDEX invitations_by_customer ON invitations (customer_id, id);
CREATE INDEX invitations_by_subject ON invitations (subject, id);
CREATE INDEX invitations_by_state ON invitations (state, id);
-- For the expiry.
CREATE INDEX invitations_due ON invitations (expire_time) WHERE state = 'PENDING';

CREATE TABLE responses (
    id               uuid        PRIMARY KEY,
    -- NOT NULL: a NULL would slip through the constraint below.
    invitation_id    uuid        NOT NULL REFERENCES invitations,
    questionnaire_id uuid        NOT NULL,
    number           integer     NOT NULL,
    customer_id      uuid        NOT NULL,
    subject          text        NOT NULL,
    subject_version  bigint      NOT NULL,
    dissatisfied     boolean     NOT NULL,
    mode             text        NOT NULL CHECK (mode IN ('ONLINE', 'PHONE', 'FACE_TO_FACE')),
    create_time      timestamptz NOT NULL,
    FOREIGN KEY (questionnaire_id, number) REFERENCES questionnaire_versions,
    -- An invitation is answered once.
    CONSTRAINT responses_once UNIQUE (invitation_id)
);
-- For lists.
CREATE INDEX responses_by_customer ON responses (customer_id, id);
CREATE INDEX responses_by_subject ON responses (subject, id);
CREATE INDEX responses_by_questionnaire ON responses (questionnaire_id, id);
-- For summaries.
CREATE INDEX responses_summary ON responses (questionnaire_id, number, create_time) INCLUDE (dissatisfied);

-- One row for each question that was answered.
CREATE TABLE answers (
    response_id      uuid        NOT NULL REFERENCES responses,
    -- The question's place in the questionnaire, from 0.
    place            smallint    NOT NULL,
    questionnaire_id uuid        NOT NULL,
    number           integer     NOT NULL,
    question_id      text        NOT NULL,
    -- The response's, so that a summary of a time reads this table alone.
    create_time      timestamptz NOT NULL,
    -- One of the three: a rating or a likelihood to recommend; the chosen ids; the customer's own words.
    score            smallint,
    choices          text[],
    words            text,
    PRIMARY KEY (response_id, place),
    CHECK (num_nonnulls(score, choices, words) = 1),
    CHECK (array_position(choices, NULL) IS NULL)
);
-- For summaries.
CREATE INDEX answers_summary ON answers (questionnaire_id, number, question_id, create_time) INCLUDE (score);

-- The questionnaire that the loop of a complaint ends with, so that it works from the first start on. Published before
-- anything that an installation publishes itself, which therefore takes its place.
INSERT INTO questionnaires
    (id, purpose, state, content, latest_version, publish_time, version, create_time, update_time)
VALUES (
    '019b76da-a800-7000-8000-000000000001',
    'COMPLAINT_HANDLING',
    'PUBLISHED',
    '{
        "title": {"zh-CN": "投诉处理满意度调查", "en": "How we handled your complaint"},
        "questions": [
            {
                "id": "handling",
                "prompt": {"zh-CN": "您对本次投诉处理的满意程度", "en": "How satisfied are you with the handling of your complaint?"},
                "required": true,
                "kind": {
                    "type": "rating",
                    "scale_max": 5,
                    "positive_from": 4,
                    "low_label": {"zh-CN": "非常不满意", "en": "Very dissatisfied"},
                    "high_label": {"zh-CN": "非常满意", "en": "Very satisfied"}
                }
            },
            {
                "id": "recommend",
                "prompt": {"zh-CN": "您有多大可能把我们推荐给亲友？", "en": "How likely are you to recommend us to a friend or colleague?"},
                "required": false,
                "kind": {
                    "type": "nps",
                    "low_label": {"zh-CN": "完全不可能", "en": "Not at all likely"},
                    "high_label": {"zh-CN": "极有可能", "en": "Extremely likely"}
                }
            },
            {
                "id": "comment",
                "prompt": {"zh-CN": "您还有什么意见或建议？", "en": "What else would you like to tell us?"},
                "required": false,
                "kind": {"type": "free_text", "max_length": 2000}
            }
        ],
        "incentive": true
    }',
    1,
    '2026-01-01T00:00:00Z',
    1,
    '2026-01-01T00:00:00Z',
    '2026-01-01T00:00:00Z'
);
INSERT INTO questionnaire_versions (questionnaire_id, number, purpose, content, create_time)
SELECT id, latest_version, purpose, content, publish_time FROM questionnaires;
