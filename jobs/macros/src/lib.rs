//! The attribute that makes a function an entry point of a plugin. It changes nothing about the function;
//! beside it, it writes a record for the plugin's descriptor and a shim that the host calls. What both mean
//! is said in the crate `firesteel`, whose paths the generated code names.
#![warn(missing_docs)]

mod record;
mod signature;

use proc_macro::TokenStream;
use quote::{format_ident, quote};
use signature::Entry;

/// Makes a function an entry point of the plugin, under its own name.
///
/// ```text
/// /// Counts the lines of a text.
/// #[firesteel::entry]
/// pub fn lines(
///     cx: &firesteel::Context<'_>,
///     /// A file, a directory or a pattern.
///     input: String,
///     limit: Option<u64>,
/// ) -> firesteel::Result<u64> { … }
/// ```
///
/// The first argument is the context; the others are `String`, `i64`, `u64`, `f64`, `bool`, or an `Option` of
/// one of these, and may carry documentation. The answer is a `firesteel::Result` of something that serde can
/// serialize; it is shown as JSON. A crate may have several entry points.
#[proc_macro_attribute]
pub fn entry(attribute: TokenStream, item: TokenStream) -> TokenStream {
    let mut function = syn::parse_macro_input!(item as syn::ItemFn);
    if !attribute.is_empty() {
        let error = syn::Error::new_spanned(&function.sig.ident, "#[firesteel::entry] takes no arguments");
        return error.into_compile_error().into();
    }
    match Entry::of(&mut function) {
        Ok(entry) => expand(&function, &entry).into(),
        Err(error) => {
            let error = error.into_compile_error();
            quote!(#function #error).into()
        }
    }
}

fn expand(function: &syn::ItemFn, entry: &Entry) -> proc_macro2::TokenStream {
    let name = &function.sig.ident;
    let symbol = format!("firesteel_entry_v1_{name}");
    let shim = format_ident!("firesteel_entry_{name}");
    let record = record::bytes(entry);
    let len = record.len();
    let literal = proc_macro2::Literal::byte_string(&record);
    let abi = record::ABI_VERSION;
    let values = entry.args.iter().map(|arg| {
        let (name, get) = (&arg.name, if arg.optional { "optional" } else { "required" });
        let get = format_ident!("{get}");
        quote!(arguments.#get(#name)?)
    });
    quote! {
        #function

        const _: () = {
            const _: () = assert!(
                ::firesteel::abi::ABI_VERSION == #abi,
                "firesteel and firesteel-macros are of different versions"
            );
            #[used]
            #[unsafe(link_section = ".firesteel")]
            static RECORD: [u8; #len] = *#literal;

            #[unsafe(export_name = #symbol)]
            unsafe extern "C" fn #shim(
                host: *const ::firesteel::abi::HostTable,
                ctx: ::firesteel::abi::Ctx,
                arguments: ::firesteel::abi::Bytes,
            ) -> i32 {
                // SAFETY: the host calls this with a table, a context and arguments as the ABI says.
                unsafe {
                    ::firesteel::guest::run_entry(&RECORD, host, ctx, arguments, |cx, arguments| {
                        ::firesteel::guest::answer(#name(cx, #(#values),*))
                    })
                }
            }
        };
    }
}
