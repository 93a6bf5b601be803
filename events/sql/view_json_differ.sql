-- Which pairs of JSON texts are different values, by their place from 1. What is not JSON is text.
SELECT p.place FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS p (a, b, place)
WHERE p.a::jsonb IS DISTINCT FROM p.b::jsonb
