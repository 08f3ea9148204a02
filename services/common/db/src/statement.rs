//! Statements written out as SQL that stay prepared.
//!
//! `diesel::sql_query` is parsed and planned anew every time, because its text may be made up at run time. A text that
//! is a constant cannot grow the cache of prepared statements, so this one is kept; what is written in numbers goes in
//! as arrays.
//!
//! ```ignore
//! statement("UPDATE lot SET remaining = left.remaining FROM unnest($1, $2) AS left (id, remaining) WHERE …")
//!     .bind::<Array<SqlUuid>, _>(ids)
//!     .bind::<Array<BigInt>, _>(remaining)
//!     .execute(conn)
//!     .await?;
//! ```

use std::marker::PhantomData;

use diesel::pg::Pg;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::result::QueryResult;
use diesel::serialize::ToSql;
use diesel::sql_types::{HasSqlType, Untyped};

/// Starts a statement with `$1`, `$2` and so on in its text; [`Statement::bind`] gives them, in order.
pub const fn statement(sql: &'static str) -> Statement {
    Statement { sql }
}

/// A constant text of SQL.
#[derive(Clone, Copy, Debug)]
#[must_use = "nothing happens before it is executed or loaded"]
pub struct Statement {
    sql: &'static str,
}

impl Statement {
    pub const fn bind<ST, V>(self, value: V) -> Bound<Self, V, ST> {
        Bound { statement: self, value, sql_type: PhantomData }
    }
}

/// A statement with one more value for it.
#[derive(Clone, Copy, Debug)]
#[must_use = "nothing happens before it is executed or loaded"]
pub struct Bound<S, V, ST> {
    statement: S,
    value: V,
    sql_type: PhantomData<ST>,
}

impl<S, V, ST> Bound<S, V, ST> {
    pub const fn bind<ST2, V2>(self, value: V2) -> Bound<Self, V2, ST2> {
        Bound { statement: self, value, sql_type: PhantomData }
    }
}

impl QueryFragment<Pg> for Statement {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        // Not `unsafe_to_cache_prepared`: that is the point.
        out.push_sql(self.sql);
        Ok(())
    }
}

impl<S, V, ST> QueryFragment<Pg> for Bound<S, V, ST>
where
    S: QueryFragment<Pg>,
    V: ToSql<ST, Pg>,
    Pg: HasSqlType<ST>,
{
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        self.statement.walk_ast(out.reborrow())?;
        out.push_bind_param_value_only(&self.value)
    }
}

// Found in the cache by their text: two statements may have the same types.
impl QueryId for Statement {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<S, V, ST> QueryId for Bound<S, V, ST> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl Query for Statement {
    type SqlType = Untyped;
}

impl<S, V, ST> Query for Bound<S, V, ST> {
    type SqlType = Untyped;
}
