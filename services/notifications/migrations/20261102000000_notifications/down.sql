DROP TABLE inbox_items;
DROP TABLE delivery_steps;
DROP TABLE messages;
DROP TABLE contacts;
DROP TABLE template_texts;
DROP TABLE templates;
DROP FUNCTION refuse_change();
