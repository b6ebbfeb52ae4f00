//! `firesteel tokens`: who may speak to the master, and with which role.

use super::{ListFormat, print_json};
use crate::client::{Client, ConnectArgs};
use crate::failure::{Exit, Outcome};
use crate::print;
use clap::{Args, Subcommand};
use firesteel_common::http::{Role, TokenCreate, TokenCreated, TokenInfo};

/// Creates, lists and revokes tokens (for administrators)
#[derive(Debug, Args)]
pub struct TokensArgs {
    #[command(subcommand)]
    command: TokensCommand,
}

#[derive(Debug, Subcommand)]
enum TokensCommand {
    /// Makes a token and prints it; it is shown this once, and never again
    Create {
        /// A name for it, which stands in lists, in the audit log and as the owner of applications
        #[arg(value_name = "NAME")]
        name: String,
        /// What its holder may do: viewer, submit or admin
        #[arg(long, value_name = "ROLE", default_value = "submit", value_parser = role)]
        role: Role,
        /// How to print it: table is the token alone
        #[arg(short = 'o', long = "output", value_enum, default_value_t)]
        format: ListFormat,
        #[command(flatten)]
        connect: ConnectArgs,
    },
    /// Lists the tokens, without what is secret of them
    List {
        /// How to print it
        #[arg(short = 'o', long = "output", value_enum, default_value_t)]
        format: ListFormat,
        #[command(flatten)]
        connect: ConnectArgs,
    },
    /// Makes a token worthless at once
    Revoke {
        /// Its name
        #[arg(value_name = "NAME", value_parser = name_of_token)]
        name: String,
        #[command(flatten)]
        connect: ConnectArgs,
    },
}

fn role(text: &str) -> Result<Role, String> {
    let named = Role::ALL.into_iter().find(|role| role.as_str() == text);
    named.ok_or_else(|| "a role is viewer, submit or admin".to_owned())
}

/// It becomes a part of a path of the API.
fn name_of_token(text: &str) -> Result<String, String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.@".contains(c);
    if text.is_empty() || text.starts_with('.') || !text.chars().all(is_plain) {
        return Err("a name of a token has letters, digits, '-', '_', '.' and '@'".to_owned());
    }
    Ok(text.to_owned())
}

impl TokensArgs {
    /// Asks the master.
    pub fn run(self) -> Outcome<Exit> {
        match self.command {
            TokensCommand::Create { name, role, format, connect } => {
                let made: TokenCreated =
                    Client::find(&connect)?.post("/tokens", &TokenCreate { name, role })?;
                match format {
                    ListFormat::Table => print::line(print::safe(&made.token))?,
                    ListFormat::Json => print_json(&made)?,
                }
            }
            TokensCommand::List { format, connect } => list(&Client::find(&connect)?, format)?,
            TokensCommand::Revoke { name, connect } => {
                Client::find(&connect)?.delete(&format!("/tokens/{name}"))?;
                print::talk(format!("the token '{name}' is revoked"));
            }
        }
        Ok(Exit::Done)
    }
}

fn list(client: &Client, format: ListFormat) -> Outcome<()> {
    let tokens: Vec<TokenInfo> = client.get("/tokens")?;
    if format == ListFormat::Json {
        return print_json(&tokens);
    }
    let row = |token: &TokenInfo| {
        let used = token.last_used_ms.map_or_else(|| "-".to_owned(), print::utc);
        vec![token.name.clone(), token.role.as_str().to_owned(), print::utc(token.created_ms), used]
    };
    let rows: Vec<_> = tokens.iter().map(row).collect();
    print::data(print::table(&["NAME", "ROLE", "CREATED", "LAST USED"], &rows).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_and_names_are_checked_before_anything_is_sent() {
        assert_eq!(role("admin"), Ok(Role::Admin));
        assert!(role("root").is_err());
        assert!(name_of_token("ci-1").is_ok());
        for name in ["", "../x", "a/b", "a b", "a?b"] {
            assert!(name_of_token(name).is_err(), "{name}");
        }
    }
}
