DROP TABLE answers, responses, invitations, questionnaire_versions, questionnaires;
DROP FUNCTION refuse_change();
