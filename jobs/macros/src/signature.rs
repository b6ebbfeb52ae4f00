//! What a function must look like to be an entry point, and what is read from it.

use syn::spanned::Spanned;
use syn::{
    Attribute, Error, FnArg, GenericArgument, ItemFn, Meta, Pat, PathArguments, Result, ReturnType, Type,
};

const ARGUMENT_TYPES: &str =
    "an argument of an entry point is String, i64, u64, f64, bool, or an Option of one of these";
const CONTEXT: &str = "the first argument of an entry point is its context: `cx: &firesteel::Context<'_>`";

/// An entry point as its record describes it.
pub struct Entry {
    /// The name of the function.
    pub name: String,
    /// Its documentation.
    pub doc: String,
    /// Its arguments after the context.
    pub args: Vec<Arg>,
}

/// An argument.
pub struct Arg {
    /// Its name.
    pub name: String,
    /// The name of its type in records.
    pub kind: &'static str,
    /// Whether it may be left out.
    pub optional: bool,
    /// Its documentation.
    pub doc: String,
}

impl Entry {
    /// Reads a function, and takes the documentation of its arguments away, which the compiler would not
    /// have.
    pub fn of(function: &mut ItemFn) -> Result<Self> {
        let signature = &mut function.sig;
        if let Some(token) = &signature.asyncness {
            return Err(Error::new_spanned(
                token,
                "an entry point is not async: its actions wait by themselves",
            ));
        }
        if signature.generics.type_params().next().is_some()
            || signature.generics.const_params().next().is_some()
        {
            return Err(Error::new_spanned(&signature.generics, "an entry point has no generic types"));
        }
        if let ReturnType::Default = signature.output {
            let message = "an entry point returns `firesteel::Result<T>`, where T can be serialized";
            return Err(Error::new_spanned(&signature.ident, message));
        }
        let mut args = Vec::new();
        let mut inputs = signature.inputs.iter_mut();
        match inputs.next() {
            Some(FnArg::Typed(context)) if matches!(*context.ty, Type::Reference(_)) => {}
            Some(other) => return Err(Error::new(other.span(), CONTEXT)),
            None => return Err(Error::new_spanned(&signature.ident, CONTEXT)),
        }
        for input in inputs {
            let FnArg::Typed(input) = input else { return Err(Error::new(input.span(), ARGUMENT_TYPES)) };
            let Pat::Ident(name) = &*input.pat else {
                return Err(Error::new_spanned(&input.pat, "an argument of an entry point has a plain name"));
            };
            let name = name.ident.to_string().trim_start_matches("r#").trim_start_matches('_').to_owned();
            let (kind, optional) = argument_type(&input.ty)?;
            args.push(Arg { name, kind, optional, doc: documentation(&input.attrs) });
            input.attrs.retain(|attribute| !attribute.path().is_ident("doc"));
        }
        Ok(Self { name: signature.ident.to_string(), doc: documentation(&function.attrs), args })
    }
}

/// The name of a type in records, and whether it is an `Option`.
fn argument_type(ty: &Type) -> Result<(&'static str, bool)> {
    let wrong = || Error::new_spanned(ty, ARGUMENT_TYPES);
    let Type::Path(path) = ty else { return Err(wrong()) };
    let last = path.path.segments.last().ok_or_else(wrong)?;
    if last.ident == "Option" {
        let PathArguments::AngleBracketed(inner) = &last.arguments else { return Err(wrong()) };
        let Some(GenericArgument::Type(inner)) = inner.args.first() else { return Err(wrong()) };
        return match argument_type(inner)? {
            (kind, false) => Ok((kind, true)),
            _ => Err(wrong()),
        };
    }
    let kinds = [("String", "string"), ("i64", "i64"), ("u64", "u64"), ("f64", "f64"), ("bool", "bool")];
    let kind = kinds.iter().find(|(rust, _)| last.ident == rust).ok_or_else(wrong)?;
    Ok((kind.1, false))
}

/// The text of documentation comments.
fn documentation(attributes: &[Attribute]) -> String {
    let mut lines = Vec::new();
    for attribute in attributes {
        let Meta::NameValue(value) = &attribute.meta else { continue };
        let syn::Expr::Lit(literal) = &value.value else { continue };
        if let (true, syn::Lit::Str(line)) = (value.path.is_ident("doc"), &literal.lit) {
            lines.push(line.value().trim().to_owned());
        }
    }
    lines.join("\n").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> std::result::Result<Entry, String> {
        let mut function = syn::parse_str(text).map_err(|error| error.to_string())?;
        Entry::of(&mut function).map_err(|error| error.to_string())
    }

    #[test]
    fn functions_are_read() {
        let entry = read(
            "/// Does it.\n fn go<'s>(cx: &Context<'s>, /** How. */ r#mut: Option<f64>, b: bool) -> R<u8> {}",
        );
        let entry = entry.unwrap_or_else(|error| Entry { name: error, doc: String::new(), args: Vec::new() });
        assert_eq!((entry.name.as_str(), entry.doc.as_str()), ("go", "Does it."));
        let args: Vec<_> =
            entry.args.iter().map(|a| (a.name.as_str(), a.kind, a.optional, a.doc.as_str())).collect();
        assert_eq!(args, [("mut", "f64", true, "How."), ("b", "bool", false, "")]);
    }

    #[test]
    fn wrong_functions_are_told_what_is_wrong() {
        for (text, message) in [
            ("fn go() -> R<u8> {}", CONTEXT),
            ("fn go(n: u64) -> R<u8> {}", CONTEXT),
            ("fn go(&self) -> R<u8> {}", CONTEXT),
            ("fn go(cx: &C, n: u32) -> R<u8> {}", ARGUMENT_TYPES),
            ("fn go(cx: &C, n: Option<Option<u64>>) -> R<u8> {}", ARGUMENT_TYPES),
            ("fn go(cx: &C, n: &str) -> R<u8> {}", ARGUMENT_TYPES),
            ("fn go(cx: &C, (a, b): u64) -> R<u8> {}", "an argument of an entry point has a plain name"),
            (
                "async fn go(cx: &C) -> R<u8> {}",
                "an entry point is not async: its actions wait by themselves",
            ),
            ("fn go<T>(cx: &C) -> R<T> {}", "an entry point has no generic types"),
        ] {
            assert_eq!(read(text).err().as_deref(), Some(message), "{text}");
        }
        assert!(read("fn go(cx: &C) {}").is_err_and(|error| error.contains("firesteel::Result<T>")));
    }
}
