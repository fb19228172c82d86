"""What of each kind of object makes it the same or another one, as SQL over the system catalogs.

One SELECT for each catalog (https://www.postgresql.org/docs/current/catalogs.html), all of the same columns: the object's
address as in pg_depend, its owner, its rights and which default they have, the address of what it goes away with, and its
properties. Names stand for oids, so that databases can be compared; what holds no name is what the server prints
(pg_get_viewdef and its like). A test holds this page against the catalogs of the server that runs: each of their columns is
read here, or stands below with the reason why not.
"""

from __future__ import annotations

HIDDEN_NAMES = "pass|pwd|secret|token|credential|private|key|conninfo|connstr|connection|dsn"
"""Names of options of what is foreign whose value is left out of all that is told or written: a regular expression, whatever the case."""
HIDDEN_VALUES = r"(pass(word|wd|phrase)?|pwd)\s*=|://[^/@\s]*:[^@\s]*@"
"""Values that have a password in them, whatever the name of the option: a part of a connection string or a URL."""
LEFT_OUT = "left out"
"""Stands for what may be a password where something has to."""
SHOWN_OPTION = f"""case when split_part(o, '=', 1) ~* '{HIDDEN_NAMES}' or substr(o, strpos(o, '=') + 1) ~* '{HIDDEN_VALUES}|^{LEFT_OUT}$'
  then split_part(o, '=', 1) else o end"""
"""An option as `name=value`, or only its name."""

OWN = r"""
own as materialized (
  select oid, nspname from pg_namespace where nspname !~ '^pg_' and nspname not in ('information_schema', 'inv')
), foreigners as materialized (
  select classid, objid from pg_depend where deptype = 'e'
    or (deptype = 'i' and refclassid = 'pg_type'::regclass and classid in ('pg_proc'::regclass, 'pg_cast'::regclass))
), needed as materialized (
  select classid, objid, string_agg(extname, ', ' order by extname) as extensions
  from pg_depend d join pg_extension x on x.oid = refobjid and refclassid = 'pg_extension'::regclass
  where deptype = 'x' group by 1, 2
), rel as materialized (
  select c.* from pg_class c join own on own.oid = relnamespace
  where not exists (select from foreigners f where f.objid = c.oid and f.classid = 'pg_class'::regclass)
    and not (relname = 'schema_migrations' and relkind = 'r')
), governed as materialized (
  select oid from pg_roles where rolname = 'lambda_signup' or shobj_description(oid, 'pg_authid') ~ '\[inv: role '
)
"""
"""Schemas of the user's, what extensions and range types bring, what goes away with one, the relations (dbmate's table of what it has applied is none), and the roles whose rights are for db.roles and lambda.deploy to compare."""

SCHEMAS = """
select 'pg_namespace'::regclass, n.oid, 0, nspowner, nspacl, 'n', null::regclass, null::oid, 0, jsonb_build_object()
from pg_namespace n join own using (oid)
"""

RELATIONS = """
select 'pg_class'::regclass, c.oid, 0, relowner, relacl, case relkind when 'S' then 's' else 'r' end,
  case when u.objid is not null then 'pg_class'::regclass end, u.refobjid, u.refobjsubid, jsonb_build_object(
    'unlogged', nullif(relpersistence = 'u', false),
    'row level security', nullif(relrowsecurity, false),
    'forced row level security', nullif(relforcerowsecurity, false),
    'replica identity', case relreplident when 'f' then 'full' when 'n' then case when relkind in ('r', 'p') then 'nothing' end
      when 'i' then coalesce((select indexrelid::regclass::text from pg_index where indrelid = c.oid and indisreplident), 'a lost index') end,
    'options', (select string_agg(o, ', ' order by o) from unnest(reloptions) o),
    'options of its toast table', (select string_agg(o, ', ' order by o) from pg_class t, unnest(t.reloptions) o where t.oid = c.reltoastrelid),
    'of type', nullif(reloftype, 0)::regtype::text,
    'access method', case when relam <> 0 and relkind in ('r', 'm', 'p') then (select amname from pg_am a where a.oid = relam) end,
    'tablespace', (select spcname from pg_tablespace s where s.oid = reltablespace),
    'partitioned by', case relkind when 'p' then pg_get_partkeydef(c.oid) end,
    'partition', case when relispartition then h.parents || ' ' || pg_get_expr(relpartbound, c.oid) || case when h.leaving then ' (detach pending)' else '' end end,
    'inherits', case when not relispartition then h.parents end,
    'definition', case when relkind in ('v', 'm') then rtrim(pg_get_viewdef(c.oid), ';') end,
    'column order', case when relkind in ('r', 'p', 'f') then (select string_agg(quote_ident(attname), ', ' order by attnum)
       from pg_attribute where attrelid = c.oid and attnum > 0 and not attisdropped) end,
    'server', (select srvname from pg_foreign_table t join pg_foreign_server s on s.oid = ftserver where ftrelid = c.oid),
    'options of the server', (select string_agg(shown_option, ', ' order by o) from pg_foreign_table, unnest(ftoptions) o where ftrelid = c.oid)
  ) || coalesce((select jsonb_build_object('type', format_type(seqtypid, null), 'start', seqstart, 'increment', seqincrement,
      'maximum', seqmax, 'minimum', seqmin, 'cache', seqcache, 'cycle', seqcycle,
      'owned by', case u.deptype when 'a' then (pg_identify_object(u.refclassid, u.refobjid, u.refobjsubid)).identity end)
    from pg_sequence where seqrelid = c.oid), '{}')
from rel c
left join lateral (select string_agg(inhparent::regclass::text, ', ' order by inhseqno) as parents, bool_or(inhdetachpending) as leaving
  from pg_inherits where inhrelid = c.oid) h on true
left join lateral (select * from pg_depend d where relkind = 'S' and classid = 'pg_class'::regclass and d.objid = c.oid
  and refclassid = 'pg_class'::regclass and refobjsubid > 0 and deptype in ('a', 'i') limit 1) u on true
where relkind in ('r', 'p', 'v', 'm', 'f', 'S')
"""

COLUMNS = """
select 'pg_class'::regclass, a.attrelid, a.attnum::int, c.relowner, attacl, 'c',
  case relkind when 'c' then 'pg_type'::regclass else 'pg_class'::regclass end,
  case relkind when 'c' then reltype else c.oid end, 0, jsonb_build_object(
    'type', case when relkind not in ('v', 'm') then format_type(atttypid, atttypmod) end,
    'collation', case when relkind not in ('v', 'm') and attcollation <> typcollation then attcollation::regcollation::text end,
    'not null', case when attnotnull then 'yes' || case when nn.connoinherit then ' no inherit' else '' end
       || case when nn.convalidated then '' when nn.convalidated is null then '' else ' not valid' end end,
    'not null constraint', case when nn.conislocal and not right(nn.conname, length(attname || '_not_null')) = attname || '_not_null' then nn.conname end,
    'default', case attgenerated when '' then pg_get_expr(adbin, adrelid) end,
    'generated', case when attgenerated <> '' then '(' || pg_get_expr(adbin, adrelid) || ')' || case attgenerated when 's' then ' stored' else ' virtual' end end,
    'identity', case attidentity when 'a' then 'always' when 'd' then 'by default' end,
    'storage', case when attstorage <> typstorage then case attstorage when 'p' then 'plain' when 'e' then 'external' when 'm' then 'main' else 'extended' end end,
    'compression', case attcompression when 'p' then 'pglz' when 'l' then 'lz4' end,
    'statistics', nullif(attstattarget, -1),
    'options', (select string_agg(o, ', ' order by o) from unnest(attoptions) o),
    'options of the server', (select string_agg(shown_option, ', ' order by o) from unnest(attfdwoptions) o),
    'inherited', case when not attislocal and not relispartition then true end)
from rel c join pg_attribute a on attrelid = c.oid and attnum > 0 and not attisdropped
join pg_type t on t.oid = atttypid
left join pg_attrdef on adrelid = attrelid and adnum = attnum
left join pg_constraint nn on nn.contype = 'n' and nn.conrelid = attrelid and nn.conkey[1] = attnum
where relkind in ('r', 'p', 'f', 'v', 'm', 'c')
"""

CONSTRAINTS = """
select 'pg_constraint'::regclass, k.oid, 0, null::oid, null::aclitem[], null::text,
  case when conrelid <> 0 then 'pg_class'::regclass else 'pg_type'::regclass end, greatest(conrelid, contypid), 0, jsonb_build_object(
    'definition', pg_get_constraintdef(k.oid),
    'not valid', nullif(not convalidated, false),
    'inherited', case when contype = 'c' and not conislocal and not c.relispartition then true end)
from pg_constraint k left join rel c on c.oid = conrelid left join pg_type t on t.oid = contypid left join own on own.oid = typnamespace
where conparentid = 0 and contype not in ('n', 't') and (c.oid is not null or own.oid is not null)
"""
"""Those that a partition has of its parent go with that; NOT NULL is read with its column, constraint triggers with the triggers."""

INDEXES = """
select 'pg_class'::regclass, i.oid, 0, null::oid, null::aclitem[], null::text,
  case when k.oid is not null and conparentid = 0 then 'pg_constraint'::regclass else 'pg_class'::regclass end,
  case when k.oid is not null and conparentid = 0 then k.oid else indrelid end, 0, jsonb_build_object(
    'definition', case when k.oid is null then pg_get_indexdef(i.oid) end,
    'options', case when k.oid is not null then (select string_agg(o, ', ' order by o) from unnest(i.reloptions) o) end,
    'invalid', nullif(not indisvalid, false),
    'clustered', nullif(indisclustered, false),
    'tablespace', (select spcname from pg_tablespace s where s.oid = i.reltablespace),
    'attached to', (select inhparent::regclass::text from pg_inherits where inhrelid = i.oid),
    'statistics', (select string_agg(attnum || ': ' || attstattarget, ', ' order by attnum) from pg_attribute where attrelid = i.oid and attstattarget >= 0))
from rel i join pg_index on indexrelid = i.oid join rel c on c.oid = indrelid
left join pg_constraint k on conindid = i.oid and contype in ('p', 'u', 'x')
where i.relkind in ('i', 'I')
"""

TRIGGERS = """
select 'pg_trigger'::regclass, g.oid, 0, null::oid, null::aclitem[], null::text, 'pg_class'::regclass, g.tgrelid, 0, jsonb_build_object(
    'definition', pg_get_triggerdef(g.oid),
    'fires', case g.tgenabled when 'D' then 'never' when 'R' then 'on replicas' when 'A' then 'always' end)
from pg_trigger g join rel c on c.oid = g.tgrelid and g.tgname is not null left join pg_trigger p on p.oid = g.tgparentid
where not g.tgisinternal and (g.tgparentid = 0 or p.tgenabled <> g.tgenabled)
"""

RULES = """
select 'pg_rewrite'::regclass, r.oid, 0, null::oid, null::aclitem[], null::text, 'pg_class'::regclass, ev_class, 0, jsonb_build_object(
    'definition', rtrim(pg_get_ruledef(r.oid), ';'),
    'fires', case ev_enabled when 'D' then 'never' when 'R' then 'on replicas' when 'A' then 'always' end)
from pg_rewrite r join rel c on c.oid = ev_class
where rulename <> '_RETURN'
"""

POLICIES = """
select 'pg_policy'::regclass, p.oid, 0, null::oid, null::aclitem[], null::text, 'pg_class'::regclass, polrelid, 0, jsonb_build_object(
    'for', case polcmd when 'r' then 'select' when 'a' then 'insert' when 'w' then 'update' when 'd' then 'delete' else 'all' end,
    'restrictive', nullif(not polpermissive, false),
    'to', (select string_agg(case r when 0 then 'public' else quote_ident(pg_get_userbyid(r)) end, ', ' order by pg_get_userbyid(r)) from unnest(polroles) r),
    'using', pg_get_expr(polqual, polrelid),
    'with check', pg_get_expr(polwithcheck, polrelid))
from pg_policy p join rel c on c.oid = polrelid and polname is not null
"""

FUNCTIONS = """
select 'pg_proc'::regclass, p.oid, 0, proowner, proacl, 'f', null::regclass, null::oid, 0, jsonb_build_object(
    'kind', case prokind when 'p' then 'procedure' when 'w' then 'window' when 'a' then 'aggregate' end,
    'arguments', pg_get_function_arguments(p.oid),
    'returns', pg_get_function_result(p.oid),
    'language', (select lanname from pg_language l where l.oid = prolang),
    'volatility', case when prokind <> 'a' then case provolatile when 'i' then 'immutable' when 's' then 'stable' end end,
    'strict', case when prokind <> 'a' then nullif(proisstrict, false) end,
    'security definer', nullif(prosecdef, false),
    'leakproof', nullif(proleakproof, false),
    'parallel', case proparallel when 's' then 'safe' when 'r' then 'restricted' end,
    'cost', case when prokind <> 'a' then procost end,
    'rows', nullif(prorows, 0),
    'support', nullif(prosupport::oid, 0)::regproc::text,
    'transforms', (select string_agg(format_type(f, null), ', ') from unnest(protrftypes) f),
    'settings', (select string_agg(s, ', ' order by s) from unnest(proconfig) s),
    'file', probin,
    'body', case when prokind = 'a' then null when prosqlbody is null then prosrc else pg_get_function_sqlbody(p.oid) end,
    'definition', case when prokind <> 'a' then pg_get_functiondef(p.oid) end
  ) || coalesce((select jsonb_build_object(
      'aggregate', case aggkind when 'o' then 'ordered set' when 'h' then 'hypothetical set' end,
      'direct arguments', nullif(aggnumdirectargs, 0),
      'transition', aggtransfn, 'state', format_type(aggtranstype, null), 'state size', nullif(aggtransspace, 0), 'initial state', agginitval,
      'final', nullif(aggfinalfn::oid, 0)::regproc, 'final takes arguments', nullif(aggfinalextra, false), 'final changes state', aggfinalmodify,
      'combine', nullif(aggcombinefn::oid, 0)::regproc, 'serialize', nullif(aggserialfn::oid, 0)::regproc, 'deserialize', nullif(aggdeserialfn::oid, 0)::regproc,
      'moving transition', nullif(aggmtransfn::oid, 0)::regproc, 'moving inverse', nullif(aggminvtransfn::oid, 0)::regproc,
      'moving state', case when aggmtranstype <> 0 then format_type(aggmtranstype, null) end, 'moving state size', nullif(aggmtransspace, 0),
      'initial moving state', aggminitval, 'moving final', nullif(aggmfinalfn::oid, 0)::regproc,
      'moving final takes arguments', nullif(aggmfinalextra, false), 'moving final changes state', case when aggmtransfn::oid <> 0 then aggmfinalmodify end,
      'sort operator', case when aggsortop <> 0 then aggsortop::regoperator end)
    from pg_aggregate where aggfnoid = p.oid), '{}')
from pg_proc p join own on own.oid = pronamespace and proname is not null
"""

TYPES = """
select 'pg_type'::regclass, t.oid, 0, typowner, typacl, 'T', null::regclass, null::oid, 0, jsonb_build_object(
    'kind', case typtype when 'e' then 'enum' when 'd' then 'domain' when 'c' then 'composite' when 'r' then 'range'
      when 'b' then 'base' when 'p' then 'shell' end,
    'values', (select string_agg(quote_literal(enumlabel), ', ' order by enumsortorder) from pg_enum where enumtypid = t.oid),
    'attribute order', case typtype when 'c' then (select string_agg(quote_ident(attname), ', ' order by attnum)
       from pg_attribute where attrelid = typrelid and attnum > 0 and not attisdropped) end,
    'type', case typtype when 'd' then format_type(typbasetype, typtypmod) end,
    'not null', nullif(typnotnull, false),
    'default', typdefault,
    'collation', case when typtype = 'd' and typcollation <> (select b.typcollation from pg_type b where b.oid = t.typbasetype) then typcollation::regcollation::text end
  ) || case when typtype <> 'b' then '{}' else jsonb_build_object(
    'input', typinput, 'output', typoutput, 'receive', nullif(typreceive::oid, 0)::regproc, 'send', nullif(typsend::oid, 0)::regproc,
    'modifier input', nullif(typmodin::oid, 0)::regproc, 'modifier output', nullif(typmodout::oid, 0)::regproc, 'analyze', nullif(typanalyze::oid, 0)::regproc,
    'subscript', nullif(typsubscript::oid, 0)::regproc, 'length', typlen, 'by value', typbyval, 'alignment', typalign, 'storage', typstorage,
    'category', typcategory, 'preferred', nullif(typispreferred, false), 'element', case when typelem <> 0 then format_type(typelem, null) end,
    'delimiter', typdelim, 'collatable', nullif(typcollation <> 0, false)) end
  || coalesce((select jsonb_build_object('subtype', format_type(rngsubtype, null), 'multirange', format_type(rngmultitypid, null),
      'operator class', (select opcname from pg_opclass where oid = rngsubopc), 'collation', nullif(rngcollation, 0)::regcollation::text,
      'canonical', nullif(rngcanonical::oid, 0)::regproc, 'difference', nullif(rngsubdiff::oid, 0)::regproc)
    from pg_range where rngtypid = t.oid), '{}')
from pg_type t join own on own.oid = typnamespace and typname is not null
where typtype <> 'm' and typisdefined is not null and (typtype <> 'c' or exists (select from pg_class c where c.oid = typrelid and relkind = 'c'))
  and not exists (select from pg_type e where e.typarray = t.oid)
"""

EXTENSIONS = """
select 'pg_extension'::regclass, x.oid, 0, null::oid, null::aclitem[], null::text, null::regclass, null::oid, 0,
  jsonb_build_object('schema', extnamespace::regnamespace::text)
from pg_extension x where extname is not null
"""

STATISTICS = """
select 'pg_statistic_ext'::regclass, s.oid, 0, stxowner, null::aclitem[], null::text, 'pg_class'::regclass, stxrelid, 0,
  jsonb_build_object('definition', pg_get_statisticsobjdef(s.oid), 'target', nullif(stxstattarget, -1))
from pg_statistic_ext s join own on own.oid = stxnamespace and stxname is not null
"""

DEFAULT_RIGHTS = """
select 'pg_default_acl'::regclass, d.oid, 0, defaclrole, defaclacl, case when defaclnamespace = 0 then case defaclobjtype when 'S' then 's' else defaclobjtype::text end end,
  null::regclass, null::oid, 0, jsonb_build_object('schema', nullif(defaclnamespace, 0)::regnamespace::text,
    'on', case defaclobjtype when 'r' then 'tables' when 'S' then 'sequences' when 'f' then 'functions' when 'T' then 'types' when 'n' then 'schemas' else defaclobjtype::text end)
from pg_default_acl d where defaclnamespace = 0 or exists (select from own where own.oid = defaclnamespace)
  and exists (select from aclexplode(defaclacl) where grantee not in (select oid from governed))
"""

OPERATORS = """
select 'pg_operator'::regclass, o.oid, 0, oprowner, null::aclitem[], null::text, null::regclass, null::oid, 0, jsonb_build_object(
  'kind', oprkind, 'left', case when oprleft <> 0 then format_type(oprleft, null) end, 'right', format_type(oprright, null), 'result', format_type(oprresult, null),
  'function', oprcode::oid::regprocedure, 'commutator', nullif(oprcom, 0)::regoperator, 'negator', nullif(oprnegate, 0)::regoperator,
  'restriction', nullif(oprrest::oid, 0)::regproc, 'join', nullif(oprjoin::oid, 0)::regproc, 'merges', nullif(oprcanmerge, false), 'hashes', nullif(oprcanhash, false))
from pg_operator o join own on own.oid = oprnamespace and oprname is not null
"""

OPERATOR_CLASSES = """
select 'pg_opclass'::regclass, o.oid, 0, opcowner, null::aclitem[], null::text, 'pg_opfamily'::regclass, opcfamily, 0, jsonb_build_object(
  'type', format_type(opcintype, null), 'default', nullif(opcdefault, false), 'stores', case when opckeytype <> 0 then format_type(opckeytype, null) end)
from pg_opclass o join own on own.oid = opcnamespace and opcname is not null and opcmethod <> 0
"""

OPERATOR_FAMILIES = """
select 'pg_opfamily'::regclass, f.oid, 0, opfowner, null::aclitem[], null::text, null::regclass, null::oid, 0, jsonb_build_object(
  'operators', (select string_agg(concat_ws(' ', amopstrategy, amopopr::regoperator::text, amoppurpose, format_type(amoplefttype, null), format_type(amoprighttype, null),
     (select opfname from pg_opfamily s where s.oid = amopsortfamily)), ', ' order by amopstrategy, amoplefttype::regtype::text, amoprighttype::regtype::text) from pg_amop where amopfamily = f.oid),
  'functions', (select string_agg(concat_ws(' ', amprocnum, amproc::oid::regprocedure::text, format_type(amproclefttype, null), format_type(amprocrighttype, null)), ', '
     order by amprocnum, amproclefttype::regtype::text, amprocrighttype::regtype::text) from pg_amproc where amprocfamily = f.oid))
from pg_opfamily f join own on own.oid = opfnamespace and opfname is not null and opfmethod <> 0
"""

COLLATIONS = """
select 'pg_collation'::regclass, o.oid, 0, collowner, null::aclitem[], null::text, null::regclass, null::oid, 0, jsonb_build_object(
  'provider', case collprovider when 'i' then 'icu' when 'c' then 'libc' when 'b' then 'builtin' when 'd' then 'default' end, 'nondeterministic', nullif(not collisdeterministic, false),
  'lc_collate', collcollate, 'lc_ctype', collctype, 'locale', coalesce(to_jsonb(o) ->> 'colllocale', to_jsonb(o) ->> 'colliculocale'), 'rules', to_jsonb(o) ->> 'collicurules')
from pg_collation o join own on own.oid = collnamespace and collname is not null and collencoding is not null
"""

CONVERSIONS = """
select 'pg_conversion'::regclass, o.oid, 0, conowner, null::aclitem[], null::text, null::regclass, null::oid, 0, jsonb_build_object(
  'from', pg_encoding_to_char(conforencoding), 'to', pg_encoding_to_char(contoencoding), 'function', conproc, 'default', nullif(condefault, false))
from pg_conversion o join own on own.oid = connamespace and conname is not null
"""

CASTS = """
select 'pg_cast'::regclass, c.oid, 0, null::oid, null::aclitem[], null::text, null::regclass, null::oid, 0, jsonb_build_object(
  'from', format_type(castsource, null), 'to', format_type(casttarget, null), 'function', nullif(castfunc, 0)::regprocedure,
  'used', case castcontext when 'e' then 'explicitly' when 'a' then 'in assignment' else 'implicitly' end,
  'method', case castmethod when 'f' then 'function' when 'i' then 'inout' else 'binary' end)
from pg_cast c where oid >= 16384
"""

TRANSFORMS = """
select 'pg_transform'::regclass, t.oid, 0, null::oid, null::aclitem[], null::text, null::regclass, null::oid, 0, jsonb_build_object(
  'type', format_type(trftype, null), 'language', (select lanname from pg_language l where l.oid = trflang),
  'from sql', nullif(trffromsql::oid, 0)::regproc, 'to sql', nullif(trftosql::oid, 0)::regproc)
from pg_transform t where oid >= 16384
"""

LANGUAGES = """
select 'pg_language'::regclass, l.oid, 0, lanowner, lanacl, 'l', null::regclass, null::oid, 0, jsonb_build_object(
  'trusted', lanpltrusted, 'handler', nullif(lanplcallfoid, 0)::regproc, 'inline', nullif(laninline, 0)::regproc, 'validator', nullif(lanvalidator, 0)::regproc)
from pg_language l where oid >= 16384 and lanname is not null
"""

ACCESS_METHODS = """
select 'pg_am'::regclass, a.oid, 0, null::oid, null::aclitem[], null::text, null::regclass, null::oid, 0, jsonb_build_object('type', amtype, 'handler', amhandler)
from pg_am a where oid >= 16384
"""

WRAPPERS = """
select 'pg_foreign_data_wrapper'::regclass, w.oid, 0, fdwowner, fdwacl, 'F', null::regclass, null::oid, 0, jsonb_build_object(
  'handler', nullif(fdwhandler, 0)::regproc, 'validator', nullif(fdwvalidator, 0)::regproc, 'options', (select string_agg(split_part(o, '=', 1), ', ' order by o) from unnest(fdwoptions) o))
from pg_foreign_data_wrapper w where oid >= 16384 and fdwname is not null
"""

SERVERS = """
select 'pg_foreign_server'::regclass, s.oid, 0, srvowner, srvacl, 'S', 'pg_foreign_data_wrapper'::regclass, srvfdw, 0, jsonb_build_object(
  'wrapper', (select fdwname from pg_foreign_data_wrapper w where w.oid = srvfdw), 'type', srvtype, 'version', srvversion,
  'options', (select string_agg(shown_option, ', ' order by o) from unnest(srvoptions) o))
from pg_foreign_server s where srvname is not null
"""

USER_MAPPINGS = """
select 'pg_user_mapping'::regclass, m.umid, 0, m.umuser, null::aclitem[], null::text, 'pg_foreign_server'::regclass, m.srvid, 0, jsonb_build_object(
  'options', (select string_agg(split_part(o, '=', 1), ', ' order by o) from unnest(m.umoptions) o))
from pg_user_mappings m
"""
"""Of pg_user_mapping by its view, which any user may read: which options there are (umuser, umserver, umoptions), not their values, since passwords are among them."""

EVENT_TRIGGERS = """
select 'pg_event_trigger'::regclass, e.oid, 0, evtowner, null::aclitem[], null::text, null::regclass, null::oid, 0, jsonb_build_object(
  'event', evtevent, 'function', evtfoid::regproc, 'tags', (select string_agg(quote_literal(t), ', ' order by t) from unnest(evttags) t),
  'fires', case evtenabled when 'D' then 'never' when 'R' then 'on replicas' when 'A' then 'always' end)
from pg_event_trigger e where evtname is not null and pg_get_userbyid(evtowner) <> 'rdsadmin'
"""

PUBLICATIONS = """
select 'pg_publication'::regclass, p.oid, 0, pubowner, null::aclitem[], null::text, null::regclass, null::oid, 0, jsonb_build_object(
  'all tables', nullif(puballtables, false), 'publishes', concat_ws(', ', case when pubinsert then 'insert' end, case when pubupdate then 'update' end,
    case when pubdelete then 'delete' end, case when pubtruncate then 'truncate' end),
  'by the root', nullif(pubviaroot, false), 'generated columns', case to_jsonb(p) ->> 'pubgencols' when 's' then 'stored' end)
from pg_publication p where pubname is not null
union all
select 'pg_publication_rel'::regclass, r.oid, 0, null::oid, null::aclitem[], null::text, 'pg_publication'::regclass, prpubid, 0, jsonb_build_object(
  'publication', (select pubname from pg_publication p where p.oid = prpubid), 'table', prrelid::regclass::text,
  'columns', (select string_agg(quote_ident(attname), ', ' order by attnum) from pg_attribute where attrelid = prrelid and attnum = any(prattrs)), 'where', pg_get_expr(prqual, prrelid))
from pg_publication_rel r
union all
select 'pg_publication_namespace'::regclass, n.oid, 0, null::oid, null::aclitem[], null::text, 'pg_publication'::regclass, pnpubid, 0, jsonb_build_object(
  'publication', (select pubname from pg_publication p where p.oid = pnpubid), 'schema', pnnspid::regnamespace::text)
from pg_publication_namespace n
"""

TEXT_SEARCH = """
select 'pg_ts_config'::regclass, c.oid, 0, cfgowner, null::aclitem[], null::text, null::regclass, null::oid, 0, jsonb_build_object(
  'parser', (select format('%I.%I', prsnamespace::regnamespace::text, prsname) from pg_ts_parser p where p.oid = cfgparser),
  'mapping', (select string_agg(alias || ': ' || dicts, ', ' order by alias) from (
      select t.alias, string_agg(mapdict::regdictionary::text, ' ' order by mapseqno) as dicts
      from pg_ts_config_map join lateral ts_token_type(cfgparser) t on t.tokid = maptokentype where mapcfg = c.oid group by 1) m))
from pg_ts_config c join own on own.oid = cfgnamespace and cfgname is not null
union all
select 'pg_ts_dict'::regclass, d.oid, 0, dictowner, null::aclitem[], null::text, null::regclass, null::oid, 0, jsonb_build_object(
  'template', (select format('%s.%I', tmplnamespace::regnamespace, tmplname) from pg_ts_template t where t.oid = dicttemplate), 'options', dictinitoption)
from pg_ts_dict d join own on own.oid = dictnamespace and dictname is not null
union all
select 'pg_ts_parser'::regclass, p.oid, 0, null::oid, null::aclitem[], null::text, null::regclass, null::oid, 0, jsonb_build_object(
  'start', prsstart, 'token', prstoken, 'end', prsend, 'headline', nullif(prsheadline::oid, 0)::regproc, 'types', prslextype)
from pg_ts_parser p join own on own.oid = prsnamespace
union all
select 'pg_ts_template'::regclass, t.oid, 0, null::oid, null::aclitem[], null::text, null::regclass, null::oid, 0, jsonb_build_object(
  'init', nullif(tmplinit::oid, 0)::regproc, 'lexize', tmpllexize)
from pg_ts_template t join own on own.oid = tmplnamespace
"""

PARTS = (
    SCHEMAS, RELATIONS, COLUMNS, CONSTRAINTS, INDEXES, TRIGGERS, RULES, POLICIES, FUNCTIONS, TYPES, EXTENSIONS, STATISTICS, DEFAULT_RIGHTS,
    OPERATORS, OPERATOR_CLASSES, OPERATOR_FAMILIES, COLLATIONS, CONVERSIONS, CASTS, TRANSFORMS, LANGUAGES, ACCESS_METHODS,
    WRAPPERS, SERVERS, USER_MAPPINGS, EVENT_TRIGGERS, PUBLICATIONS, TEXT_SEARCH,
)  # fmt: skip

# json is a keyword since 16, and named without its schema since: f(json), where 15 says f(pg_catalog.json)
EVERYTHING = f"""
with {OWN}, found (classid, objid, objsubid, owner, acl, acltype, in_class, in_id, in_sub, facets) as (
{"union all".join(PARTS)}
), loaders as materialized (
  select oid from pg_roles where rolname in (current_user, session_user, 'pg_database_owner')
  union select datdba from pg_database where datname = current_database()
)
select i.type, case when o.classid in ('pg_default_acl'::regclass, 'pg_user_mapping'::regclass) and owner = (select datdba from pg_database where datname = current_database())
    then replace(i.identity, pg_get_userbyid(owner), 'the login') else replace(i.identity, 'pg_catalog.json', 'json') end,
  p.type, replace(p.identity, 'pg_catalog.json', 'json'), o.objid,
  jsonb_strip_nulls(o.facets || jsonb_build_object(
    'owner', case when o.objsubid = 0 and owner <> 0 and owner not in (select oid from loaders) then pg_get_userbyid(owner) end,
    'depends on the extension', n.extensions,
    'comment', d.description,
    'security label', (select string_agg(provider || ': ' || label, ', ' order by provider) from pg_seclabel s
       where s.objoid = o.objid and s.classoid = o.classid and s.objsubid = o.objsubid),
    'taken from its owner', case when acl is not null then (select string_agg(e.privilege_type, ', ' order by 1) from aclexplode(acldefault(o.acltype::"char", o.owner)) e
       where e.grantee = o.owner and not exists (select from aclexplode(o.acl) h where h.grantee = o.owner and h.privilege_type = e.privilege_type)) end)),
  case when o.acl is not null or o.acltype in ('f', 'T', 'l') then (select jsonb_object_agg('granted to ' || who, rights) from (
     select who, string_agg(right_, ', ' order by right_) as rights from (
       select distinct case when grantee = 0 then 'public' when grantee in (select oid from loaders) then 'the login'
           else quote_ident(pg_get_userbyid(grantee)) end as who,
         privilege_type || case when is_grantable then ' with grant option' else '' end as right_
       from aclexplode(coalesce(o.acl, acldefault(o.acltype::"char", o.owner)))
       where grantee <> o.owner and grantee not in (select oid from governed)) a
     group by 1) g) end
from found o
cross join lateral pg_identify_object(o.classid, o.objid, o.objsubid) i
left join lateral pg_identify_object(o.in_class, o.in_id, o.in_sub) p on o.in_class is not null
left join needed n on n.classid = o.classid and n.objid = o.objid
left join pg_description d on d.objoid = o.objid and d.classoid = o.classid and d.objsubid = o.objsubid
where not exists (select from foreigners f where f.classid = o.classid and f.objid = o.objid)
  and not exists (select from foreigners f where f.classid = o.in_class and f.objid = o.in_id)
""".replace("shown_option", SHOWN_OPTION)
"""All objects of a database but those of extensions and the server's own, in one statement."""
