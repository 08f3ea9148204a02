-- What is said, how customers are reached, and what became of each message.

CREATE TABLE templates (
    -- Lists go by the key's bytes.
    key         text        COLLATE "C" PRIMARY KEY,
    variables   text[]      NOT NULL CHECK (array_position(variables, NULL) IS NULL),
    channels    text[]      NOT NULL CHECK (cardinality(channels) > 0 AND channels <@ '{EMAIL,IN_APP}'),
    -- By BCP 47 tag: {subject, body}.
    contents    jsonb       NOT NULL CHECK (contents ? 'zh-CN'),
    version     bigint      NOT NULL CHECK (version > 0),
    create_time timestamptz NOT NULL,
    update_time timestamptz NOT NULL
);

-- The text of each version: a message says what its template said when it was accepted.
CREATE TABLE template_texts (
    template_key text        COLLATE "C" NOT NULL REFERENCES templates,
    version      bigint      NOT NULL,
    contents     jsonb       NOT NULL,
    create_time  timestamptz NOT NULL,
    PRIMARY KEY (template_key, version)
);

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% on % is refused: its rows never change', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation';
END
$$;
CREATE TRIGGER template_texts_never_change BEFORE UPDATE OR DELETE ON template_texts
    FOR EACH ROW EXECUTE FUNCTION refuse_change();

-- How a customer is reached. A row of version 0 stands for a customer of whom nothing is known yet: whoever accepts a
-- message and whoever brings the contact meet at its lock, so that neither misses the other.
CREATE TABLE contacts (
    customer_id      uuid        PRIMARY KEY,
    customer_version bigint      NOT NULL CHECK (customer_version >= 0),
    deleted          boolean     NOT NULL,
    display_name     text        NOT NULL,
    email            text,
    phone            text,
    locale           text        NOT NULL,
    update_time      timestamptz NOT NULL,
    -- Nothing about a person stays behind.
    CONSTRAINT contacts_erased CHECK (
        NOT deleted OR (display_name = '' AND email IS NULL AND phone IS NULL)
    )
);

CREATE TABLE messages (
    id               uuid        PRIMARY KEY,
    customer_id      uuid        NOT NULL,
    template_key     text        COLLATE "C" NOT NULL,
    template_version bigint      NOT NULL,
    channel          text        NOT NULL CHECK (channel IN ('EMAIL', 'IN_APP')),
    -- The language it was written in; NULL before it was written.
    locale           text,
    -- The resource that it is about; empty for none.
    about            text        NOT NULL,
    state            text        NOT NULL
        CHECK (state IN ('QUEUED', 'WAITING_FOR_CONTACT', 'SENDING', 'DELIVERED', 'FAILED')),
    failure_reason   text,
    attempts         integer     NOT NULL CHECK (attempts >= 0),
    -- An attempt was begun whose outcome nobody has told yet.
    in_flight        boolean     NOT NULL,
    -- Personal or secret, such as the link of an invitation: gone when the message is finished.
    variables        jsonb,
    -- When the delivery looks at it next; while an attempt is in flight, when that is taken for lost.
    due_time         timestamptz,
    finish_time      timestamptz,
    -- The trace of the call that asked for it: what follows from its outcome belongs there.
    trace            text        NOT NULL,
    version          bigint      NOT NULL CHECK (version > 0),
    create_time      timestamptz NOT NULL,
    update_time      timestamptz NOT NULL,
    FOREIGN KEY (template_key, template_version) REFERENCES template_texts,
    CHECK ((state = 'FAILED') = (failure_reason IS NOT NULL)),
    CHECK ((state IN ('DELIVERED', 'FAILED')) = (finish_time IS NOT NULL)),
    CHECK ((finish_time IS NULL) = (due_time IS NOT NULL)),
    CHECK ((finish_time IS NULL) = (variables IS NOT NULL)),
    CHECK (NOT in_flight OR state = 'SENDING')
);
-- For the delivery.
CREATE INDEX messages_due ON messages (due_time) WHERE due_time IS NOT NULL;
-- For what a contact's arrival or deletion concerns.
CREATE INDEX messages_open ON messages (customer_id) WHERE due_time IS NOT NULL;
-- For lists. A customer and a subject have few messages, so the other filters need no index of their own there.
CREATE INDEX messages_by_customer ON messages (customer_id, id);
CREATE INDEX messages_by_about ON messages (about, id) WHERE about <> '';
CREATE INDEX messages_by_state ON messages (state, id);

-- Every decision and attempt, in order; only ever added to.
CREATE TABLE delivery_steps (
    message_id        uuid        NOT NULL REFERENCES messages,
    -- In order within a message, because its row is locked by whoever adds.
    id                bigint      GENERATED ALWAYS AS IDENTITY,
    time              timestamptz NOT NULL,
    -- A decision's code, or NULL for an attempt.
    decision          text,
    attempt           integer,
    outcome           text        CHECK (outcome IN ('ACCEPTED', 'TRANSIENT_FAILURE', 'PERMANENT_FAILURE')),
    detail            text        NOT NULL,
    next_attempt_time timestamptz,
    PRIMARY KEY (message_id, id),
    CHECK ((decision IS NULL) = (attempt IS NOT NULL)),
    CHECK ((attempt IS NULL) = (outcome IS NULL))
);
CREATE TRIGGER delivery_steps_never_change BEFORE UPDATE OR DELETE ON delivery_steps
    FOR EACH ROW EXECUTE FUNCTION refuse_change();

CREATE TABLE inbox_items (
    -- The message's.
    id          uuid        PRIMARY KEY REFERENCES messages,
    customer_id uuid        NOT NULL,
    subject     text        NOT NULL,
    body        text        NOT NULL,
    locale      text        NOT NULL,
    about       text        NOT NULL,
    read_time   timestamptz,
    version     bigint      NOT NULL CHECK (version > 0),
    create_time timestamptz NOT NULL,
    update_time timestamptz NOT NULL
);
CREATE INDEX inbox_items_by_customer ON inbox_items (customer_id, id);
CREATE INDEX inbox_items_unread ON inbox_items (customer_id, id) WHERE read_time IS NULL;

-- The messages that a complaint's way sends, so that it works from the first start on.
INSERT INTO templates (key, variables, channels, contents, version, create_time, update_time) VALUES
(
    'complaint-acknowledged',
    '{reference}',
    '{EMAIL,IN_APP}',
    '{
        "zh-CN": {
            "subject": "投诉受理通知（编号 {{ reference }}）",
            "body": "尊敬的{% if customer_name %}{{ customer_name }}{% else %}客户{% endif %}：\n\n您好！您的投诉我们已经收到并正式受理，受理编号为 {{ reference }}。\n\n给您带来不便，我们深表歉意。我们将安排专人尽快核实处理，并及时向您反馈处理结果。如需补充情况或查询进展，请在联系我们时告知上述编号。\n\n感谢您的理解与信任！\n\n客户服务中心"
        },
        "en": {
            "subject": "We have received your complaint ({{ reference }})",
            "body": "Dear {% if customer_name %}{{ customer_name }}{% else %}Customer{% endif %},\n\nThank you for telling us about your concern. We have registered your complaint under the number {{ reference }}.\n\nWe are sorry for the inconvenience. A member of our team will look into the matter as soon as possible and let you know the outcome. Should you wish to add anything or ask about the progress, please mention the number above when you contact us.\n\nThank you for your patience.\n\nCustomer Service"
        }
    }',
    1, '2026-01-01T00:00:00Z', '2026-01-01T00:00:00Z'
),
(
    'complaint-resolved',
    '{reference}',
    '{EMAIL,IN_APP}',
    '{
        "zh-CN": {
            "subject": "投诉处理结果通知（编号 {{ reference }}）",
            "body": "尊敬的{% if customer_name %}{{ customer_name }}{% else %}客户{% endif %}：\n\n您好！您的投诉（编号 {{ reference }}）我们已处理完毕，现将结果告知您，并诚恳征求您的意见。\n\n如果您对处理结果有任何疑问，或认为问题尚未得到妥善解决，请随时与我们联系并告知上述编号，我们将重新核实处理，直至您满意。\n\n感谢您帮助我们改进服务！\n\n客户服务中心"
        },
        "en": {
            "subject": "The outcome of your complaint ({{ reference }})",
            "body": "Dear {% if customer_name %}{{ customer_name }}{% else %}Customer{% endif %},\n\nWe have finished dealing with your complaint {{ reference }} and would like to hear what you think of the outcome.\n\nIf you have any questions, or feel that the matter has not been settled to your satisfaction, please contact us at any time and mention the number above. We will gladly look into it again.\n\nThank you for helping us to improve.\n\nCustomer Service"
        }
    }',
    1, '2026-01-01T00:00:00Z', '2026-01-01T00:00:00Z'
),
(
    'survey-invitation',
    '{link,expire_date}',
    '{EMAIL,IN_APP}',
    '{
        "zh-CN": {
            "subject": "诚邀您参与满意度调查",
            "body": "尊敬的{% if customer_name %}{{ customer_name }}{% else %}客户{% endif %}：\n\n您好！感谢您一直以来的支持。为了给您提供更好的服务，诚邀您用一两分钟时间，谈谈您对我们服务的感受：\n\n{{ link }}\n\n该链接仅供您本人使用一次，有效期至 {{ expire_date }}，请勿转发。\n\n您的意见对我们非常重要，衷心感谢您的参与！\n\n客户服务中心"
        },
        "en": {
            "subject": "How did we do? We would value your opinion",
            "body": "Dear {% if customer_name %}{{ customer_name }}{% else %}Customer{% endif %},\n\nThank you for being our customer. To help us serve you better, would you take a minute or two to tell us how we did?\n\n{{ link }}\n\nThe link is meant for you alone, works once and is valid until {{ expire_date }}. Please do not forward it.\n\nYour opinion matters to us. Thank you for taking part.\n\nCustomer Service"
        }
    }',
    1, '2026-01-01T00:00:00Z', '2026-01-01T00:00:00Z'
);
INSERT INTO template_texts (template_key, version, contents, create_time)
SELECT key, version, contents, create_time FROM templates;
