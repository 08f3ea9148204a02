DROP TABLE subject;
